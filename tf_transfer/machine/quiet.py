"""Silences libraries whose messages tell a user nothing: standard error, warnings, logs."""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator

# The program that forwards lines: from standard input to standard error, which may be gone.
_FORWARD = """
import os, re, sys
dropped = re.compile(os.fsencode(sys.argv[1]))
for line in open(0, "rb"):
    if not dropped.search(line):
        try:
            os.write(2, line)
        except OSError:
            pass
"""


@contextlib.contextmanager
def quiet(shown_on: type[BaseException] | tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Inside, nothing reaches standard error. Redirects file descriptor 2 itself, to which C++ writes past Python.

    Args:
        shown_on: on these errors, what was written before them is printed after all.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except shown_on:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def without_lines(pattern: str) -> Iterator[None]:
    """Inside, lines on standard error that match are dropped, also those of C libraries; others pass at once.

    A process of its own forwards them, so that the last words of one that aborts are not lost.

    Args:
        pattern: a regular expression for bytes of a line, found anywhere in it.
    """
    sys.stderr.flush()
    kept, (reading, writing) = os.dup(2), os.pipe()
    command = [sys.executable, "-I", "-S", "-c", _FORWARD, pattern]
    # In a session of its own Ctrl-C does not reach it: it ends when nobody can write any more.
    files = {"stdin": reading, "stdout": subprocess.DEVNULL, "stderr": kept, "start_new_session": True}
    try:
        forwarding = subprocess.Popen(command, **files)
        os.dup2(writing, 2)
    finally:
        os.close(reading)
        os.close(writing)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        # A child that lives on holds the pipe open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            forwarding.wait(timeout=1)


@contextlib.contextmanager
def without_packages(*names: str) -> Iterator[None]:
    """Inside, packages of these names are as if not installed, unless they were imported before.

    For what a library imports wherever it is installed, and this program does not use.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def without_warnings(log: str) -> Iterator[None]:
    """Inside, Python's warnings are dropped, and all messages of a log but its errors.

    Args:
        log: name of the logger, such as `absl`.
    """
    logger = logging.getLogger(log)
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
