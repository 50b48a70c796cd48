"""A process that has imported TensorFlow and runs each command as a fork of itself, which saves it the import.

Reads a line of JSON a command: `arguments`, `cwd`, `environment`, and the files `out` and `err` that take its output;
writes a line with its `pid`, and one with its exit status as `os.waitpid` has it.
"""

import json
import os
import runpy
import sys
from pathlib import Path

from tf_transfer.machine.quiet import quiet, without_packages

RUN = str(Path(__file__).resolve().parents[1] / "run.py")


def _become(asked: dict) -> None:
    """Turns this process, a fork, into the command."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, place in enumerate((os.open(os.devnull, os.O_RDONLY), os.open(asked["out"], write, 0o600),
                                    os.open(asked["err"], write, 0o600))):  # fmt: skip
        os.dup2(place, number)
    sys.argv = [RUN, *asked["arguments"]]
    runpy.run_path(RUN, run_name="__main__")


def main() -> None:
    """Serves until standard input ends."""
    # As a command imports them, see `cli`.
    with quiet(), without_packages("sklearn", "matplotlib"):
        import tensorflow

        import tf_transfer.phases.stories
        import tf_transfer.session.session  # noqa: F401

        # Looks for GPUs now, and complains now that there are none.
        tensorflow.config.list_physical_devices()
    for line in sys.stdin:
        asked = json.loads(line)
        if not (pid := os.fork()):
            return _become(asked)
        print(json.dumps({"pid": pid}), flush=True)
        print(json.dumps({"status": os.waitpid(pid, 0)[1]}), flush=True)
    return None


if __name__ == "__main__":
    main()
