"""What the benchmarks share: their options, their records, and the pages that are written from the records."""

import argparse
import functools
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def options(text: str) -> argparse.ArgumentParser:
    """Returns the parser of a benchmark's command line; `text` is its docstring, of which the first line is shown."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=ROOT / "../shared/data", help="folder with tfds/ and flowers/")
    return parser


def prepare(arguments: argparse.Namespace) -> None:
    """Makes the folder of real data absolute, and where nobody says otherwise the one of pretrained weights, too."""
    arguments.shared = arguments.shared.resolve()
    os.environ.setdefault("KERAS_HOME", str(arguments.shared / "keras"))


def command(
    text: str,
    measure: Callable[[argparse.Namespace], dict],
    render: Callable[[Mapping], Sequence[str]],
    **more: tuple[int, str],
) -> dict:
    """Runs one benchmark from the command line, prints what it found, and keeps the record where asked to.

    Args:
        text: its docstring.
        measure: options to the record; `options.quick` asks for few rounds on little.
        render: the record to lines of Markdown.
        **more: numbers that it takes as options, by name: the default and the help.

    Returns:
        The record.
    """
    parser = options(text)
    parser.add_argument("--quick", action="store_true", help="few rounds on little: to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record here too")
    for name, (default, told) in more.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{told} (default: {default})")
    args = parser.parse_args()
    prepare(args)
    record = measure(args) | machine()
    print("\n".join(render(record)))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return record


def fresh(name: str, *flags: str) -> dict:
    """Runs one benchmark in a process of its own; returns its record."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command_line = [sys.executable, "-m", f"benchmarks.{name}", *flags, f"--json={record}"]
        subprocess.run(command_line, cwd=ROOT, check=True, stdout=sys.stderr)
        return json.loads(record.read_text())


def by_name(*modules: ModuleType) -> dict[str, ModuleType]:
    """Returns benchmarks by the name that `--only` gives them."""
    return {module.__name__.rpartition(".")[2]: module for module in modules}


def page(head: str, benchmarks: Mapping[str, ModuleType], records: Mapping) -> str:
    """Returns a page of all benchmarks that have been run, each with where its numbers come from."""
    parts = [head]
    for name, module in benchmarks.items():
        if name in records:
            record = records[name]
            versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
            parts += [*module.render(record), ""]
            parts += [f"`python -m benchmarks.{name}`, {record['date']}, {record['machine']}, {versions}.", ""]
    return "\n".join(parts)


def renew(text: str, page: str, benchmarks: Mapping[str, ModuleType], render: Callable[[dict], str]) -> None:
    """Runs benchmarks from the command line, a process each, and writes their page as `refresh` does."""
    parser = options(text)
    parser.add_argument("--only", default=",".join(benchmarks), help="what to run anew; empty: only write the page")
    args = parser.parse_args()
    prepare(args)
    measures = {name: functools.partial(fresh, name, f"--shared={args.shared}") for name in benchmarks}
    refresh(page, args.only, measures, render)


def refresh(
    page: str,
    only: str,
    measure: Mapping[str, Callable[[], dict]],
    render: Callable[[dict], str],
    date: str | None = None,
) -> None:
    """Measures sections anew, each kept as soon as it is there, and writes the page from all records there are.

    Args:
        page: name of the page, `docs/PAGE.md`, and of its records, `docs/PAGE.json`.
        only: the sections, separated by commas.
        measure: sections by name.
        render: records to Markdown.
        date: of the records, if not today.
    """
    names = [name for name in only.split(",") if name]
    if unknown := sorted(set(names) - set(measure)):
        sys.exit(f"error: --only={','.join(unknown)}: expected some of {', '.join(measure)}.")
    kept = ROOT / "docs" / f"{page}.json"
    kept.parent.mkdir(exist_ok=True)
    records = json.loads(kept.read_text()) if kept.exists() else {}
    for name in names:
        begun = time.time()
        records[name] = measure[name]() | {"date": date or time.strftime("%Y-%m-%d")}
        print(f"{name}: {time.time() - begun:.0f} s", file=sys.stderr)
        kept.write_text(json.dumps(records, indent=1) + "\n")
    kept.with_suffix(".md").write_text(render(records))


def machine() -> dict:
    """Returns the date, what the processor is and can do, and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [f for f in _FEATURES if f in facts.get("flags", "").split()]
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    for name in ("torch", "transformers", "onnxruntime", "ai-edge-litert"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores of {facts.get('model name', 'an unnamed processor')} ({', '.join(flags)})",
        "versions": versions,
    }


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]


def timed_rows(found: Mapping[str, Mapping], unit: int, what: str = "pictures/s") -> list[str]:
    """Returns the table of a comparison that `timing.compare` made; `unit` is what one call works through."""
    rows = [
        (name, f"{unit / r['seconds']:,.0f}", f"{r['ratio']:.2f}", f"{r['low']:.2f} to {r['high']:.2f}")
        for name, r in found.items()
    ]
    return table(("", what, "ratio", "quartiles"), rows)


def case_rows(name: str, case: Mapping) -> list[str]:
    """Returns the heading and the table of one network's comparison: its `size`, `batch` and `rows`."""
    return ["", f"**{name}**, {case['size']} px, batch {case['batch']}", "", *timed_rows(case["rows"], case["batch"])]


def verdict(reached: bool) -> str:
    """Returns what a page says of a target."""
    return "reached" if reached else "not reached"


def targets(
    found: Mapping[str, Mapping],
    wanted: Sequence[tuple[str, str, float]],
    case: str = "",
    where: str = ", on a processor with AMX",
) -> list[str]:
    """Returns a line for each target: how many times as fast as another `name` is to be, and is.

    Args:
        found: what `timing.compare` made.
        wanted: (name, other, times); left out where one of the two was not measured.
        case: what it was measured on.
        where: what the target was set for.
    """
    lines = []
    for name, other, times in wanted:
        if name in found and other in found:
            ratio = found[other]["seconds"] / found[name]["seconds"]
            told = verdict(ratio >= times)
            lines.append(f"- {case}{name} against {other}: {ratio:.2f}; to reach{where}, {times:g}: {told}.")
    return lines
