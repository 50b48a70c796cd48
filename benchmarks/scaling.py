"""Measures time and memory of the head phase on ever more image files at 224 px.

python -m benchmarks.scaling [--quick] [--json=FILE] [--shared=../shared/data]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import runner

COUNTS = (1_000, 5_000, 25_000, 50_000)
LIMIT = 2e9
_CHILD = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: peak memory and seconds of the process by number of pictures."""
    pictures = sorted((args.shared / "flowers").rglob("*.jp*g"))
    rows = {}
    for count in COUNTS[:2] if args.quick else COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            _links(Path(folder) / "pictures", pictures, count)
            command = [
                *(sys.executable, "-c", _CHILD, sys.executable, "run.py"),
                *(f"--dataset=folder(path={folder}/pictures, test_fraction=0.01)", f"--run_dir={folder}/run"),
                *("--backbone=mobilenet(alpha=0.25)", "--weights=random", "--phase=head", "--feature_views=1"),
            ]
            begun = time.perf_counter()
            environment = os.environ | {"XDG_CACHE_HOME": folder}
            done = subprocess.run(
                command, cwd=runner.ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment
            )
            rows[str(count)] = {"peak_bytes": int(done.stdout) * 1024, "seconds": time.perf_counter() - begun}
    return {"rows": rows}


def _links(place: Path, pictures: list[Path], count: int) -> None:
    """Makes a folder of so many pictures in five classes; the same ones again and again."""
    for i in range(count):
        source = pictures[i % len(pictures)]
        link = place / f"class{i % 5}" / f"{i}{source.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    rows = [
        (f"{int(count):,}", f"{r['peak_bytes'] / 1e9:.2f}", f"{r['seconds']:.0f}", f"{int(count) / r['seconds']:.0f}")
        for count, r in record["rows"].items()
    ]
    count, last = list(record["rows"].items())[-1]
    verdict = runner.verdict(last["peak_bytes"] < LIMIT)
    return [
        "## Scale of the head phase",
        "",
        "JPEG files at 224 px, MobileNet(0.25), a fresh process each, from the files to the solved head; peak resident "
        "memory of the process.",
        "",
        *runner.table(("pictures", "GB", "seconds", "pictures/s"), rows),
        "",
        f"- Memory at {int(count):,}: {last['peak_bytes'] / 1e9:.2f} GB; to reach, {LIMIT / 1e9:g}: {verdict}.",
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
