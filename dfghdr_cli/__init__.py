"""dfghdr: merge a hand-held exposure bracket into one clean, linear HDR image.

Importing this package loads neither torch nor OpenCV; the sub-packages do, on demand.
"""

__version__ = "0.1.0"
