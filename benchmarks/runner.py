"""What the benchmarks share: their options, their records, and the page that is written from the records."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def options(text: str, sections: Iterable[str]) -> argparse.ArgumentParser:
    """Returns the parser of a benchmark's command line.

    Args:
        text: the benchmark's docstring; its first line is shown.
        sections: names of what can be measured.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=ROOT / "../shared/data", help="folder with tfds/ and flowers/")
    parser.add_argument("--only", default=",".join(sections), help="sections to run anew; empty: only write the page")
    return parser


def prepare(arguments: argparse.Namespace) -> None:
    """Makes the folder of real data absolute, and where nobody says otherwise the one of pretrained weights, too."""
    arguments.shared = arguments.shared.resolve()
    os.environ.setdefault("KERAS_HOME", str(arguments.shared / "keras"))


def refresh(page: str, only: str, measure: Mapping[str, Callable[[], dict]], render: Callable[[dict], str]) -> None:
    """Measures sections anew, each kept as soon as it is there, and writes the page from all records there are.

    Args:
        page: name of the page, `docs/PAGE.md`, and of its records, `docs/PAGE.json`.
        only: the sections, separated by commas.
        measure: sections by name.
        render: records to Markdown.
    """
    names = [name for name in only.split(",") if name]
    if unknown := sorted(set(names) - set(measure)):
        sys.exit(f"error: --only={','.join(unknown)}: expected some of {', '.join(measure)}.")
    kept = ROOT / "docs" / f"{page}.json"
    kept.parent.mkdir(exist_ok=True)
    records = json.loads(kept.read_text()) if kept.exists() else {}
    for name in names:
        begun = time.time()
        records[name] = measure[name]() | {"date": time.strftime("%Y-%m-%d")}
        print(f"{name}: {time.time() - begun:.0f} s", file=sys.stderr)
        kept.write_text(json.dumps(records, indent=1) + "\n")
    kept.with_suffix(".md").write_text(render(records))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]
