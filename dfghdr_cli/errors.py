"""The errors dfghdr raises on purpose, each with the exit code that the command line maps it to.

A message says what is wrong, in which file, and what to do next, in one sentence.
Code 130 (Ctrl-C) belongs to the command line, and so does 2 (usage) but for one case; 1 is a bug or
a partly failed batch.
"""


class DfghdrError(Exception):
    """Base of every error a user can cause or mend."""

    exit_code = 1


class MissingPackageError(DfghdrError):
    """An optional package that is needed here is not installed: wrong usage of what is there."""

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
