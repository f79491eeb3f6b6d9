"""The first look at an input file, so that every reader refuses a bad one in the same words."""

from __future__ import annotations

from pathlib import Path

from dfghdr_cli.errors import InputError


def read_head(path: Path, length: int = 32) -> bytes:
    """The first bytes of a file, which tell its real format.

    Args:
        path: the file.
        length: how many bytes to read at most.

    Returns:
        1 to `length` bytes.

    Raises:
        InputError: the file is missing, a folder, unreadable, not a regular file, or empty.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give an image file.")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file; copy its content to a file first.")
        with path.open("rb") as file:
            head = file.read(length)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be opened ({reason}); check the name and its permissions."
        ) from error
    if not head:
        raise InputError(f"{path} is empty; copy or export it again.")
    return head


def read_text(path: Path, longest: int = 1_000_000) -> str:
    """A small text file, such as the exposures of a scene.

    Args:
        path: the file.
        longest: bytes that it may have.

    Raises:
        InputError: see `read_head`; or it is longer, or no text in UTF-8.
    """
    read_head(path)
    with path.open("rb") as file:
        data = file.read(longest + 1)
    if len(data) > longest:
        raise InputError(f"{path} is too long for what it should be; give the right file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; give the right one.") from error


def first_line(error: Exception) -> str:
    """What a library said of a file, short enough for a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
