"""The errors dfghdr raises on purpose, each with the exit code that the command line maps it to.

A message says what is wrong, in which file, and what to do next, in one sentence.
Code 130 (Ctrl-C) belongs to the command line, and so does 2 (usage) but for some cases; 1 is a bug
or a partly failed batch.
"""

import errno


class DfghdrError(Exception):
    """Base of every error a user can cause or mend."""

    exit_code = 1


class MissingPackageError(DfghdrError):
    """An optional package that is needed here is not installed: wrong usage of what is there."""

    exit_code = 2


class UsageError(DfghdrError):
    """Values that are given cannot be meant, whatever the pictures are."""

    exit_code = 2


class OutputExistsError(DfghdrError):
    """The result is there already and `--overwrite` was not given."""

    exit_code = 3


class InputError(DfghdrError):
    """A photograph, scene or other input cannot be used."""

    exit_code = 4


class ModelError(DfghdrError):
    """A model folder is missing, damaged or of the wrong kind."""

    exit_code = 5


class DeviceError(DfghdrError):
    """The requested device is absent, or there is too little memory."""

    exit_code = 6


class OutputError(DfghdrError):
    """A result cannot be written."""

    exit_code = 7


class OutputNameError(OutputError):
    """A result's name cannot be meant, whatever the pictures are: wrong usage."""

    exit_code = 2


_NO_MEMORY = (
    *("DefaultCPUAllocator", "bad_alloc", "not enough memory", "out of memory", "no memory"),
    *("insufficient memory", "cannot allocate memory", "can't allocate memory"),
    *("unable to allocate", "failed to allocate", "memory allocation", "failed to map segment"),
    *("can't start new thread", "thread constructor failed"),
    *("unable to resize file </torch", "unable to allocate shared memory"),
    "could not create a primitive",  # oneDNN, which computes convolutions
)
"""What libraries say that raise errors of their own where memory does not suffice."""
_OPENCV_NO_MEMORY = -4
"""StsNoMem."""

_LEAST = 64 << 20
"""Bytes; where not even so many are to be had, C code fails in ways of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of whatever library, means that memory did not suffice.

    To be asked ahead of every "damaged": a file is not, because a computer is small.
    """
    if isinstance(error, DfghdrError):
        return False
    if isinstance(error, MemoryError) or getattr(error, "code", None) == _OPENCV_NO_MEMORY:
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    said = str(error).lower()
    if any(words.lower() in said for words in _NO_MEMORY):
        return True
    # Of C code that names no error, and of modules that were imported by half.
    return isinstance(error, SystemError | ImportError) and _is_memory_short()


def _is_memory_short() -> bool:
    try:
        bytearray(_LEAST)
    except MemoryError:
        return True
    return False


def refuse_if_out_of_memory(error: BaseException, what: object) -> None:
    """Raise the error that says so if another one means that memory did not suffice.

    Args:
        error: what was caught.
        what: the file that was read, or what else was done.

    Raises:
        DeviceError: if so.
    """
    if isinstance(error, DeviceError):
        raise error
    if is_out_of_memory(error):
        raise DeviceError(
            f"There is not enough memory for {what}; close other programs or make it smaller."
        ) from error
