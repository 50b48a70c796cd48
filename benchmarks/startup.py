"""Times how soon an answer comes: `--help`, the import, and a first short run, each in a fresh process.

python -m benchmarks.startup [--quick] [--json=FILE]
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from benchmarks import runner
from benchmarks.timing import compare, in_turns

TINY = ("--dataset=digits", "--backbone=small_resnet", "--weights=random", "--examples_per_class=10", "--epochs=1",
        "--feature_store=off")  # fmt: skip
MISTAKEN = ("run.py", "--phase=haed")
HELP, TENSORFLOW = "run.py --help", "import tensorflow, keras"


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: seconds of each process."""
    with tempfile.TemporaryDirectory() as folder:
        first_step = ("run.py", *TINY, "--phase=scratch", "--restart", f"--run_dir={folder}/run")
        programs = {
            "python -c pass": ("-c", "pass"),
            HELP: ("run.py", "--help"),
            "import tf_transfer": ("-c", "import tf_transfer"),
            "a mistaken flag": MISTAKEN,
            TENSORFLOW: ("-c", "import tensorflow, keras"),
            "one epoch of small_resnet on 100 digits, all told": first_step,
        }
        functions = {name: (lambda p=p: _run(p)) for name, p in programs.items()}
        return {"rows": compare(in_turns(functions, 2 if args.quick else 7, warm=1), TENSORFLOW)}


def _run(program: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, *program], cwd=runner.ROOT, capture_output=True, text=True, check=False)
    if done.returncode != (2 if program == MISTAKEN else 0):
        raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr}")


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    rows = [
        (f"`{name}`" if name != "a mistaken flag" else name, f"{r['seconds']:.2f}")
        for name, r in record["rows"].items()
    ]
    taken = record["rows"][HELP]["seconds"]
    verdict = runner.verdict(taken < 0.5)
    return [
        "## Start-up",
        "",
        "Fresh processes, median seconds. TensorFlow and Keras are imported when they are needed, and not before.",
        "",
        *runner.table(("", "seconds"), rows),
        "",
        f"- `{HELP}`: {taken:.2f} s; to reach, 0.5: {verdict}.",
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
