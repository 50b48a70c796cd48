"""Groups of examples that stay in one split: patients, signers, scenes, bursts of one camera."""

import re
from collections.abc import Sequence

from tf_transfer.data import split_words
from tf_transfer.data.examples import Row
from tf_transfer.errors import UserError, one_line

FOLDER = "folder"


def of_paths(rows: Sequence[Row], rule: str, what: str, columns: Sequence[str] = ()) -> list[str]:
    r"""Returns the name of each example's group, read off its path.

    Args:
        rows: the examples.
        rule: `folder`, for the folders of a path other than those of split and class; or a regular expression that is
            searched in the path: its groups name the group, `(patient\d+)`, or without any all that it matches.
        what: name of the data set in errors.
        columns: of the CSV file, for messages.

    Raises:
        UserError: the rule is no regular expression, or names no group for some path.
    """
    if rule == FOLDER:
        found = [_folders(row) for row in rows]
        remedy = "expected a folder for each group, outside or inside that of the class"
    else:
        pattern = _compiled(rule, what)
        found = [_matched(pattern, row.name) for row in rows]
        listed = f"a column of the file ({', '.join(columns)}), " if columns else ""
        remedy = f"expected {listed}{FOLDER} or a regular expression that names a group in every path"
    for row, group in zip(rows, found, strict=True):
        if not group:
            raise UserError(f"{what}: --group_by={one_line(rule)}: {remedy}, found none in {one_line(row.name)!r}.")
    return found


def _compiled(rule: str, what: str) -> re.Pattern:
    try:
        return re.compile(rule)
    except re.error as e:
        raise UserError(
            f"{what}: --group_by={one_line(rule)}: expected {FOLDER} or a regular expression: {one_line(e)}."
        ) from e


def _matched(pattern: re.Pattern, path: str) -> str:
    match = pattern.search(path)
    if not match:
        return ""
    return "/".join(part for part in match.groups() if part) if match.groups() else match[0]


def _folders(row: Row) -> str:
    """Returns the folders of a path without those of its class and its split."""
    parts = row.name.split("/")[:-1]
    if row.label in parts:
        parts.remove(row.label)
    words = ((part, split_words.named(part)) for part in parts)
    if row.split and (split := next((part for part, word in words if word and word.split in (row.split, "")), None)):
        parts.remove(split)
    return "/".join(parts)
