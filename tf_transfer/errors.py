"""`UserError`, the exception whose message is for the user, and its kinds."""


class UserError(Exception):
    """Bad input, reported in one line: the argument, what was expected, what came, what to do.

    The command line prints the message and exits with code 2; `--debug` shows the traceback.
    """


class MissingDataError(UserError):
    """A known data set is not on this machine and cannot be downloaded now."""


class LostWorkerError(UserError):
    """Another worker of the run no longer answers; the command line exits with code 3."""


def one_line(text: object, limit: int = 200) -> str:
    """Returns `text` printable on one terminal line, at most `limit` characters long.

    File names, class names and messages of other libraries may hold line breaks or escape
    sequences; none of them may reach the terminal as such.
    """
    flat = " ".join(str(text).split())
    safe = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in flat)
    return safe if len(safe) <= limit else safe[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
