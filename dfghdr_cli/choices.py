"""The values of options, each list once, for the command line and everything below it.

The command line loads nothing heavy, so that it cannot take them from where they are used. Every
name is a `typing.Literal`; `typing.get_args` gives its values, in the order of the help.
"""

from __future__ import annotations

from typing import Literal

Align = Literal["auto", "none", "shift", "affine", "homography", "flow"]
"""How to align frames: the most general motion to look for; "auto" takes the simplest that explains
what is seen, "flow" moves frames by dense flow beyond it."""
ResponseKind = Literal["auto", "srgb", "gamma", "linear"]
"""The camera's response curve, see `core.calibration.response.choose_response`."""
ExposuresFrom = Literal["auto", "files", "pixels"]
"""What to believe where recorded exposures contradict the pixels."""
Way = Literal["dfgnet", "classic"]
"""To merge with a network, or without one."""
Resolution = Literal["auto", "full"]
"""Whether a reduced picture decides for a large one, or the network runs on every pixel."""
RadianceSpace = Literal["rec709", "rec2020", "acescg"]
"""The primaries of a merge."""
ExrType = Literal["half", "float"]
"""16 or 32 bits."""
DisplayFormat = Literal["jpg", "ultrahdr", "avif", "jxl", "tiff", "png"]
"""Files for screens."""
DisplaySpace = Literal["srgb", "p3"]
"""The primaries of a picture for screens: Rec. 709 or P3, white D65, the sRGB curve in both."""
OperatorName = Literal[
    "fusion",
    "mu-law",
    "gamma",
    "reinhard",
    "reinhard-local",
    "drago",
    "mantiuk",
    "durand",
    "hable",
    "aces",
    "agx",
    "khronos-neutral",
]
"""Tone mapping; the keys of `core.tonemapping.operators.OPERATORS`, the default first."""
MethodName = Literal["classic", "opencv-debevec", "opencv-robertson", "reference"]
"""What `dfghdr eval` scores without a model."""
Architecture = Literal["dfgmerge", "dfgnet"]
"""The keys of `nets.registry.ARCHITECTURES`."""
Inputs = Literal["aligned", "flow"]
"""How a network that sees each frame once is shown the frames besides the reference: "aligned", as
the camera's motion alone explains them, as in the paper; or "flow", as dense flow moves them."""
Upsampling = Literal["transposed", "bilinear"]
"""How a decoder doubles the size: by transposed convolutions of stride 2, as the published code,
which leave a grid; or by bilinear interpolation before a convolution, as section 2.1 says."""
Part = Literal["merge", "disentangle"]
"""Of a model: the network that merges, or the encoders with their decoder."""
Stages = Literal["all", "disentangle", "merge"]
"""Which stages of the training to run."""
PermutedStages = Literal["all", "merge", "none"]
"""In whose samples the channels may change places."""
Encoders = Literal["auto", "frozen", "trained"]
"""What happens to the encoders in stage merge."""
Precision = Literal["auto", "float32", "bf16"]
"""Of convolutions while training."""
Checkpoints = Literal["exact", "small"]
"""Whether a run that goes on from one is the same bit by bit."""
