"""Records of benchmarks.performance to Markdown."""

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.runner import table


def machine() -> dict:
    """Returns the date, what the processor is and can do, and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in facts.get("flags", "").split()]
    return {
        "machine": f"{os.cpu_count()} cores of {facts.get('model name', 'an unnamed processor')} ({', '.join(flags)})",
        "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
    }


def render(records: Mapping) -> str:
    """Returns the page; a section that has not been run is left out."""
    parts = [
        "# Performance",
        "",
        "Written by `python -m benchmarks.performance` from `docs/performance.json`; not edited by hand.",
        "Alternatives take turns in one process; a ratio is the median over the rounds, with its quartiles.",
        "",
    ]
    for name, section in _SECTIONS.items():
        if name in records:
            record = records[name]
            versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
            parts += [*section(record), "", f"{record['date']}, {record['machine']}, {versions}.", ""]
    return "\n".join(parts)


def _rows(found: Mapping, unit: int, what: str) -> list[str]:
    rows = [
        (name, f"{unit / r['seconds']:,.0f}", f"{r['ratio']:.2f}", f"{r['low']:.2f} to {r['high']:.2f}")
        for name, r in found.items()
    ]
    return table(("", what, "ratio", "quartiles"), rows)


def _cases(title: str, text: str, record: Mapping) -> list[str]:
    parts = [f"## {title}", "", text]
    for spec, case in record.items():
        if isinstance(case, Mapping) and "rows" in case:
            parts += ["", f"**{spec}**, {case['size']} px, batch {case['batch']}", ""]
            parts += _rows(case["rows"], case["batch"], "pictures/s")
    return parts


def _forward(record: Mapping) -> list[str]:
    text = (
        "Keras' own network; ours with each normalisation as one fused kernel; and with each normalisation folded into "
        "the layer before it, its weights worked out at each call or once."
    )
    return _cases("The frozen network, forward", text, record)


def _step(record: Mapping) -> list[str]:
    text = (
        "One step of SGD on the whole network: `train_on_batch` of a compiled Keras model, and the step of the package "
        "with statistics frozen (folded, all of gamma, beta, kernel and bias still train) and trained (fused kernel). "
        "Keras' frozen layers train no gamma and beta."
    )
    return _cases("A training step", text, record)


def _head(record: Mapping) -> list[str]:
    rows = [
        (name, f"{r['seconds']:.0f} ({r['phase_seconds']:.0f})", f"{r['validation']:.4f}")
        for name, r in record["rows"].items()
    ]
    return [
        "## The head phase",
        "",
        "`flags/cifar10_mobilenet.flags --phase=head`, fresh processes; in brackets the phase alone.",
        "",
        *table(("", "seconds", "validation accuracy"), rows),
    ]


def _pipeline(record: Mapping) -> list[str]:
    ours = record["rows"]["ours, uint8 to the device"]["seconds"]
    speed = record["pictures"] / ours
    taken = record["forward_pictures_per_second"]
    return [
        "## The input pipeline",
        "",
        f"Batches of 128 pictures of 32 px. MobileNet(0.25) at 96 px takes {taken:,.0f} pictures/s forward alone, 1 in "
        f"{speed / taken:.0f} of what comes.",
        "",
        *_rows(record["rows"], record["pictures"], "pictures/s"),
    ]


def _serving(record: Mapping) -> list[str]:
    rows = []
    for spec, case in record.items():
        if not isinstance(case, Mapping) or "batches" not in case:
            continue
        sizes = [f"{case['bytes'][k] / 1e6:.1f}" for k in ("as trained", "folded")]
        for batch, timed in case["batches"].items():
            plain, folded = timed["as trained"], timed["folded"]
            times = [f"{1000 * r['seconds']:.1f}" for r in (plain, folded)]
            ratio = [f"{folded['ratio']:.2f}", f"{folded['low']:.2f} to {folded['high']:.2f}"]
            rows.append((f"{spec}, {case['size']} px", batch, *times, *ratio, *sizes))
    header = ("", "batch", "milliseconds as trained", "folded", "ratio", "quartiles", "MB as trained", "folded")
    return [
        "## The exported model",
        "",
        "`serving_default` of a SavedModel with normalisations as trained and folded.",
        "",
        *table(header, rows),
    ]


def _memory(record: Mapping) -> list[str]:
    rows = [
        (f"{int(count):,}", f"{r['peak_bytes'] / 1e9:.2f}", f"{r['seconds']:.0f}")
        for count, r in record["rows"].items()
    ]
    return [
        "## Memory of the head phase",
        "",
        "Image files at 224 px, MobileNet(0.25), peak resident memory of the process.",
        "",
        *table(("pictures", "GB", "seconds"), rows),
    ]


_SECTIONS = {
    "forward": _forward,
    "step": _step,
    "head": _head,
    "pipeline": _pipeline,
    "serving": _serving,
    "memory": _memory,
}
