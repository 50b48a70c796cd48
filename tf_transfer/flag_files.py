"""Replaces `--flagfile=FILE` by the flags in the file, whatever editor and system saved it."""

import os
import re
from collections.abc import Sequence

from tf_transfer.errors import UserError, one_line
from tf_transfer.text_file import decoded

_FLAG = re.compile("--?flagfile(=(?P<file>.*))?", re.DOTALL)


def expanded(argv: Sequence[str]) -> list[str]:
    """Returns the arguments with the lines of flag files in the place of the files.

    A flag file has a flag a line, and may name others; empty lines and those that begin with # or // are comments.

    Raises:
        UserError: a file cannot be read, is no text, or names itself.
    """
    return _expanded(list(argv), ())


def _expanded(arguments: list[str], inside: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    while arguments:
        argument = arguments.pop(0)
        if argument == "--":
            return [*found, argument, *arguments]
        flag = _FLAG.fullmatch(argument)
        if not flag or (flag["file"] is None and not arguments):
            found.append(argument)
            continue
        file = flag["file"] if flag["file"] is not None else arguments.pop(0)
        if file:
            found += _read(os.path.expanduser(file.strip()), inside)
    return found


def _read(file: str, inside: tuple[str, ...]) -> list[str]:
    what, place = f"--flagfile: {one_line(file)}", os.path.realpath(file)
    if place in inside:
        raise UserError(f"{what} names itself; take that line out.")
    try:
        with open(file, "rb") as opened:
            text = decoded(opened.read())
        # Bytes that are not UTF-8 cannot be encoded again.
        text.encode("utf-8")
    except OSError as e:
        raise UserError(f"{what} cannot be read: {e.strerror}.") from e
    except UnicodeError as e:
        raise UserError(f"{what} cannot be decoded; save it as a UTF-8 text.") from e
    if "\0" in text:
        raise UserError(f"{what} cannot be decoded, it is no text; expected a flag a line.")
    lines = [line.strip() for line in text.splitlines()]
    return _expanded([line for line in lines if line and not line.startswith(("#", "//"))], (*inside, place))
