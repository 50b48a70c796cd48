"""Artefacts for docs/results.md: size, latency, accuracy and agreement of every target of the export.

python -m benchmarks.artefacts SAVED_MODEL ARTEFACT SIDE    times the two in turns, and prints JSON
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.runner import ROOT, machine, table

_TITLES = {"artefacts_flowers": "Artefacts: flowers", "artefacts_cifar10": "Artefacts: CIFAR-10"}
_ALL = "--export_targets=keras,weights,litert_float16,litert_int8,onnx"
BATCHES, _ROUNDS = (1, 32), 30


def flowers(shared: Path, work: Path) -> dict:
    """Flowers, every target."""
    source = f"--dataset=folder(path={shared / 'flowers'})"
    return _run(work / "artefacts-flowers", "--flagfile=flags/own_folder.flags", source)


def cifar10(shared: Path, work: Path) -> dict:
    """CIFAR-10 on 200 labels a class, every target; its pictures are enlarged from 32 px."""
    flags = ("--flagfile=flags/cifar10_mobilenet.flags", "--examples_per_class=200", f"--data_dir={shared / 'tfds'}")
    return _run(work / "artefacts-cifar10", *flags)


SECTIONS = {"artefacts_flowers": flowers, "artefacts_cifar10": cifar10}


def _run(folder: Path, *flags: str) -> dict:
    """Trains in float32, exports everything, and times every artefact against the SavedModel."""
    asked = ("--phase=head,full,evaluate,export", "--precision=float32", _ALL, f"--run_dir={folder}")
    # A target that is refused ends the command with 2, and has no row.
    done = subprocess.run([sys.executable, "run.py", *flags, *asked], cwd=ROOT, stdout=sys.stderr)
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    export = [r for r in records if r["kind"] == "export"][-1]
    data = [r for r in records if r["kind"] == "data"][-1]
    rows = _rows(export, {r["target"]: r for r in records if r["kind"] == "artefact"})
    for name, row in rows.items():
        row["ratio"] = _against(folder / export["path"], folder / row.pop("path"), export["image_size"])
        print(f"{name}: {row['ratio']}", file=sys.stderr)
    facts = {
        "splits": data["splits"],
        "size": export["image_size"],
        "temperature": export["calibration"]["temperature"],
    }
    return {"rows": rows, "exit_code": done.returncode, **facts, "machine": machine()}


def _rows(export: Mapping, artefacts: Mapping[str, Mapping]) -> dict:
    from tf_transfer.report.tables import artefact_rows

    places = {"saved_model": export["path"]} | {name: a["path"] for name, a in artefacts.items()}
    rows = {row["name"]: row for row in artefact_rows(export, list(artefacts.values()))}
    return {name: row | {"path": places[name]} for name, row in rows.items()}


def _against(saved_model: Path, artefact: Path, size: int) -> dict:
    """Times two artefacts in turns in one fresh process; returns how many times as fast the second is, by batch."""
    command = [sys.executable, "-m", "benchmarks.artefacts", str(saved_model), str(artefact), str(size)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def _turns(saved_model: str, artefact: str, size: str) -> dict:
    import numpy as np

    from benchmarks import timing
    from tf_transfer.export import runners

    both = {"saved_model": saved_model, "artefact": artefact}
    opened = {name: runners.open_artefact(Path(place)) for name, place in both.items()}
    found = {}
    for batch in BATCHES:
        images = np.random.default_rng(0).integers(0, 256, (batch, int(size), int(size), 3), np.uint8)
        calls = {name: lambda run=run, images=images: run(images) for name, run in opened.items()}
        told = timing.compare(timing.in_turns(calls, _ROUNDS), "saved_model")["artefact"]
        found[str(batch)] = {k: told[k] for k in ("ratio", "low", "high")}
    return found


def render(name: str, record: Mapping) -> list[str]:
    """Returns the lines of a section."""
    rows = []
    for target, row in record["rows"].items():
        accuracy = row["accuracy"]
        timed = [_milliseconds(row["latency"][str(b)]) for b in BATCHES]
        times = [_ratio(row["ratio"][str(b)]) if target != "saved_model" else "1" for b in BATCHES]
        share = f"{100 * accuracy['value']:.1f} % ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})"
        rows.append((target, row["precision"], f"{row['bytes'] / 1e6:.2f}", *timed, *times, share,
                     f"{100 * row['same_class']:.2f} %", f"{row['difference']:.1g}"))  # fmt: skip
    timed = (f"{what}, batch {b}" for what in ("ms", "times as fast") for b in BATCHES)
    header = ("artefact", "computes in", "MB", *timed, "accuracy", "same class", "probabilities within")
    facts, n = record["machine"], accuracy["n"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    return [
        f"## {_TITLES[name]}, MobileNet(0.25) at {record['size']} px",
        "",
        f"{record['splits']['train']:,} to train; every artefact run by itself on the {n:,} test pictures, temperature "
        f"{record['temperature']:.2f}. {record['date']}, {facts['machine']}, {versions}.",
        "",
        *table(header, rows),
        "",
        "Milliseconds are medians of a process of its own, with 10 and 90 % quantiles. How many times as fast as the "
        f"SavedModel it is was measured in turns with it, {_ROUNDS} rounds: median and quartiles. Accuracy has its "
        "95 % Wilson interval; the last two columns compare with the recorded predictions of the trained model."
        + (" **An artefact that did not pass has no row.**" if record["exit_code"] else ""),
    ]


def _milliseconds(seconds: Mapping) -> str:
    low, value, high = (1000 * seconds[k] for k in ("low", "value", "high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _ratio(found: Mapping) -> str:
    return f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def sections(records: Mapping) -> Sequence[str]:
    """Returns the lines of all sections that have been run."""
    return [line for name in SECTIONS if name in records for line in (*render(name, records[name]), "")]


if __name__ == "__main__":
    print(json.dumps(_turns(*sys.argv[1:])))
