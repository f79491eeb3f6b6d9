"""The errors dfghdr raises on purpose, each with the exit code that the command line maps it to.

A message says what is wrong, in which file, and what to do next, in one sentence.
Codes 2 (usage) and 130 (Ctrl-C) belong to the command line; 1 is a bug or a partly failed batch.
"""


class DfghdrError(Exception):
    """Base of every error a user can cause or mend."""

    exit_code = 1


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
    """The requested device is absent or too small."""

    exit_code = 6


class OutputError(DfghdrError):
    """A result cannot be written."""

    exit_code = 7
