"""Makes docs/performance.md: runs the benchmarks, keeps their records in docs/performance.json, writes the page.

    python -m benchmarks.performance [--only=features,full_step,...] [--shared=../shared/data]

Speeds are ratios against alternatives of the same run; where a single call is short, they took turns in one process.
"""

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from benchmarks import features, full_step, head_phase, input_pipeline, precision, runner, scaling, serving, startup

BENCHMARKS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (features, full_step, precision, head_phase, serving, input_pipeline, startup, scaling)
}


def render(records: Mapping) -> str:
    """Returns the page; a benchmark that has not been run is left out."""
    parts = [
        "# Performance",
        "",
        "Written by `python -m benchmarks.performance` from `docs/performance.json`; not edited by hand.",
        "Alternatives take turns in one process where nothing else is said; a ratio is the median over the rounds, "
        "with its quartiles.",
        "",
    ]
    for name, module in BENCHMARKS.items():
        if name in records:
            record = records[name]
            versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
            parts += [*module.render(record), ""]
            parts += [f"`python -m benchmarks.{name}`, {record['date']}, {record['machine']}, {versions}.", ""]
    return "\n".join(parts)


def _measure(name: str, shared: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", f"--shared={shared}", f"--json={record}"]
        subprocess.run(command, cwd=runner.ROOT, check=True, stdout=sys.stderr)
        return json.loads(record.read_text())


def main() -> None:
    """Runs the benchmarks asked for, a process each, and writes the page."""
    parser = runner.options(__doc__)
    parser.add_argument(
        "--only", default=",".join(BENCHMARKS), help="benchmarks to run anew; empty: only write the page"
    )
    args = parser.parse_args()
    runner.prepare(args)
    measures = {name: functools.partial(_measure, name, args.shared) for name in BENCHMARKS}
    runner.refresh("performance", args.only, measures, render)


if __name__ == "__main__":
    main()
