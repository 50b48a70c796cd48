"""One self-contained HTML page about a run: what it transferred, how well, at what cost, and how to repeat it."""

import base64
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tf_transfer.errors import one_line
from tf_transfer.phases.catalogue import SOURCE
from tf_transfer.report import assessment, control, formats, sections, summary
from tf_transfer.report.tables import comparison_table, copies

_FILTERS = (
    *("percent", "percent_range", "decimal", "decimal_range", "points", "p_value"),
    *("count", "duration", "byte_size", "setting", "shortened", "clipped"),
)


def render(
    records: Sequence[dict],
    config: Mapping[str, Any] | None,
    title: str,
    one: str = "example",
    many: str = "examples",
) -> str:
    """Returns the page as HTML; it needs no network and no other file.

    Above 50 classes it has a script, allowed by its digest, that searches the table of the classes.

    Args:
        records: the records of a run, oldest first; any of them may be missing.
        config: the run's configuration as nested mappings; `dataset`, `backbone` and `weights`, at any
            depth, appear in the first lines.
        title: heading of the page.
        one: the word for an example.
        many: the word for several.
    """
    held = summary.current(records)
    evaluated = summary.evaluations(records)
    choice = summary.latest(held, summary.CHOICE)
    model = summary.headline(evaluated, choice.get("model"))
    evaluation = evaluated.get(model, {})
    settings = flatten(config or {})
    transfer = _transfer(settings)
    data = summary.target_data(held, transfer["dataset"])
    rows, leading = comparison_table(records), summary.leading(records)
    errors = sections.errors(evaluation)
    script = _search() if errors and errors["searched"] else None
    context = {
        "script": script,
        "script_digest": _digest(script or ""),
        "one": one,
        "many": many,
        "title": one_line(title, 120) or "Transfer report",
        "transfer": transfer,
        "date": one_line(records[-1].get("time", ""))[:10] if records else "",
        "split": summary.main_split(records),
        "rows": rows,
        "card": assessment.scorecard(summary.latest(held, "assessment"), one, many),
        "choice": choice,
        "headline": sections.headline(model, evaluated, held),
        "copies": copies(evaluation.get("metrics", {}), many),
        "shares": {name: control.named(name) for name in control.columns(leading, control.among(rows))},
        "comparison": sections.comparison(rows, leading),
        "learning": sections.learning(held),
        "errors": errors,
        "confidence": sections.confidence(evaluation),
        "data": data,
        "splits": sections.splits(data, held),
        "notes": sections.notes(data),
        "export": summary.latest(held, "export"),
        "artefacts": sections.artefacts(held),
        "phases": sections.phases(held),
        "start": summary.latest(held, "start"),
        "commands": _distinct(r.get("command") for r in held if r.get("kind") == "start"),
        "warnings": _distinct(r.get("text") for r in held if r.get("kind") in ("warning", "rollback")),
        "settings": settings,
        "others": [r for r in held if r.get("kind") == "evaluation" and r.get("metrics") and r is not evaluation],
    }
    return environment().get_template("template.html").render(context)


def _transfer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is transferred to which data set."""
    found = {key: _find(settings, key) for key in ("backbone", "weights", "dataset")}
    if found["weights"] == SOURCE:
        # `source` means the source model of this run: its data set tells the reader more.
        found["weights"] = _find(settings, "source_dataset") or SOURCE
    return found


@functools.cache
def _search() -> Markup:
    return Markup((Path(__file__).parent / "search.js").read_text("utf-8"))


def _digest(script: str) -> str:
    """Returns what a Content-Security-Policy calls an inline script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(str(t) for t in texts if t))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested mappings: `{"data": {"seed": 0}}` to `{"data.seed": 0}`."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _find(settings: Mapping[str, Any], key: str) -> str | None:
    found = next((v for k, v in settings.items() if k.rpartition(".")[2] == key), None)
    return one_line(found) if found not in (None, "") else None


@functools.cache
def environment() -> jinja2.Environment:
    """Returns the jinja2 environment of the pages, with the filters that format numbers."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formats, name) for name in _FILTERS}
    environment.filters["name"] = lambda text, limit=80: one_line(text, limit) or "(no name)"
    return environment
