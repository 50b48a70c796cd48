"""The model card: what an exported model is, what it was measured to do, and what not to use it for.

After Mitchell et al., "Model cards for model reporting", FAT* 2019. `build` collects the card from the records;
`markdown` renders it. The JSON file beside the Markdown has the same content.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Protocol

from tf_transfer.errors import one_line
from tf_transfer.report import control, summary, tables
from tf_transfer.report.formats import byte_size, count, decimal, decimal_range, percent, percent_range

JSON, MARKDOWN = "model_card.json", "model_card.md"

_METRICS = ("accuracy", "top5", "balanced_accuracy", "macro_f1", "nll", "brier", "ece")
_EXPORT = ("signatures", "parity", "accuracy", "bytes_parity", "latency", "bytes")
_SHARES = ("accuracy", "top5", "balanced_accuracy", "macro_f1")
_PACKAGES = ("tf_transfer", "tensorflow", "keras", "numpy", "tensorflow-datasets")
_LIMITS = (
    "It names one of its classes for any {one}, also for one that shows none of them.",
    "It was measured on the {many} described above; on others, see the results under shift, where there are any.",
)


class Modality(Protocol):
    """The part of `modalities.base.Modality` that a card tells.

    Attributes:
        limits: sentences on what it was not made for.
    """

    limits: Sequence[str]

    def card(self) -> dict:
        """Returns name, words, endings, and the input of `serving_default`."""

    def told(self, size: int) -> str:
        """Returns an input size in words."""


def build(records: Sequence[dict], config: Mapping, export: Mapping, command: str, modality: Modality) -> dict:
    """Collects a model card.

    Args:
        records: of the run, oldest first.
        config: of `Config.to_dict`.
        export: the record of the export phase.
        command: the command line that exported it.
        modality: what its examples are.

    Returns:
        `model`, `modality`, `data`, `phases`, `metrics` (of each evaluated model, with intervals), `headline` (the
        metric that comes first), `control` (a sentence on the blind guess, or None), `calibration`, `shift`,
        `verdict`, `export`, `limits`, `license`, `versions`, `commands` (of training, and of the export), `digests`.
    """
    held = summary.current(records)
    data = summary.target_data(held, config["data"]["dataset"])
    evaluated = summary.evaluations(records)
    ends, plans = summary.by_phase(held, "phase_end"), summary.by_phase(held, "plan")
    phases = [p for p in summary.MODELS if p in ends]
    assessment = summary.latest(held, "assessment")
    blocks = assessment.get("blocks", {})
    return {
        "model": {
            "name": export["model"],
            "what": summary.MODELS.get(export["model"]),
            "chosen": _chosen(summary.latest(held, summary.CHOICE), export["model"]),
            "backbone": config["model"]["backbone"],
            "weights": config["model"]["weights"],
            "precision": export["precision"],
            "image_size": export["image_size"],
            "size": modality.told(export["image_size"]),
            "classes": list(data.get("class_names", ())),
        },
        "modality": modality.card(),
        "data": {
            "dataset": one_line(config["data"]["dataset"], 200),
            "splits": dict(data.get("splits", {})) | {r["split"]: r["metrics"]["n"] for r in evaluated.values()},
            "notes": {kind: list(texts) for kind, texts in data.get("notes", {}).items()},
        },
        "phases": {p: _phase(plans.get(p, {}), ends[p]) for p in phases},
        "metrics": {m: _metrics(r) for m, r in evaluated.items()},
        **_control(control.find(held), evaluated.get(export["model"], {})),
        "calibration": export["calibration"],
        "shift": _shift(blocks.get("shift", {}), export["model"]),
        "verdict": assessment.get("verdict"),
        "export": {k: export[k] for k in _EXPORT if k in export},
        "limits": [*(text.format(**modality.card()) for text in _LIMITS), *modality.limits],
        # Only the user knows these.
        "license": {"model": None, "pretrained_weights": None, "data": None},
        "versions": {name: _version(name) for name in _PACKAGES},
        "commands": list(dict.fromkeys([*(r["command"] for r in held if r["kind"] == "start"), command])),
        "digests": {
            "weights": export["weights"],
            "split": data.get("split_digest"),
            "test_pictures": export.get("pictures"),
        },
    }


def _chosen(choice: Mapping, model: str) -> str | None:
    """Returns why this model was exported and no other one of its run; None where there was no other."""
    return choice.get("why") if choice.get("model") == model else None


def _phase(plan: Mapping, end: Mapping) -> dict:
    options = ("epochs", "optimizer", "learning_rate", "batch_size", "regularizer", "bn", "augment")
    chosen = plan.get("plan", plan)
    return {
        "seconds": end.get("seconds"),
        "validation_accuracy": end.get("validation_accuracy"),
        "trained_parameters": plan.get("parameters", {}).get("trained"),
        "race": (end.get("race") or {}).get("text"),
        "options": {name: chosen[name] for name in options if chosen.get(name) is not None},
    }


def _shift(block: Mapping, model: str) -> dict:
    """Returns the accuracy under corruptions and on shifted sets, of the assessment's training of the model's kind."""
    corruptions = (block.get("corruptions") or {}).get("kinds", {}).get(model, {})
    found = {"common corruptions": corruptions["mean"]} if "mean" in corruptions else {}
    sets = {name: s["accuracy"].get(model) for name, s in block.get("sets", {}).items()}
    return found | {name: value for name, value in sets.items() if value}


def _metrics(evaluation: Mapping) -> dict:
    found = evaluation["metrics"]
    kept = {k: found[k] for k in (*_METRICS, "without_copies") if k in found}
    return {"split": evaluation["split"], "n": found["n"]} | kept


def _control(blind: Mapping, evaluation: Mapping) -> dict:
    metric = control.leading(blind, evaluation)
    said = control.told(blind, metric) if control.beside(blind, evaluation) else None
    return {"headline": metric, "control": said}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def markdown(card: Mapping) -> str:
    """Renders the card as Markdown; names of classes and files are escaped."""
    model, data, words = card["model"], card["data"], card["modality"]
    classes = [as_code(name) for name in model["classes"][:100]]
    more = f" and {len(model['classes']) - 100:,} more" if len(model["classes"]) > 100 else ""
    lines = [
        f"# {_plain(model['backbone'])} on {_plain(data['dataset'])}",
        "",
        f"{_plain(model['what'] or model['name'])}; began from {as_code(model['weights'])}, computes in "
        f"{model['precision']} on {model['size']}.",
        *(
            ["", f"Exported is the {_plain(model['name'])} model: {_plain(model['chosen'], 400)}."]
            if model["chosen"]
            else []
        ),
        "",
        "## Classes",
        "",
        ", ".join(classes) + more,
        "",
        "## Data",
        "",
        f"{as_code(data['dataset'])}: "
        + ", ".join(f"{count(n)} in {_plain(split)}" for split, n in data["splits"].items())
        + ".",
    ]
    lines += [f"- {_note(kind, texts)}" for kind, texts in data["notes"].items()]
    lines += ["", "## Training", "", "| phase | seconds | trained parameters | options |", "|---|---|---|---|"]
    lines += [_phase_row(name, phase) for name, phase in card["phases"].items()]
    lines += [f"\n{name}: {_plain(p['race'])}." for name, p in card["phases"].items() if p.get("race")]
    lines += ["", "## Measured", "", *_measured(card["metrics"], words, card["headline"], card["control"])]
    lines += ["", *_calibration(card["calibration"], words)]
    lines += _assessed(card)
    lines += ["", "## The artefact", "", *_artefact(card["export"], words)]
    lines += ["", "## Limits", "", *(f"- {text}" for text in card["limits"])]
    lines += [
        "",
        "## Licence",
        "",
        *(f"- {k.replace('_', ' ')}: {v or 'to be filled in'}" for k, v in card["license"].items()),
    ]
    lines += ["", "## Where it comes from", "", "```", *(c.replace("```", "") for c in card["commands"]), "```", ""]
    lines += [f"- {name} {version}" for name, version in card["versions"].items() if version]
    lines += [f"- digest of {name.replace('_', ' ')}: `{value}`" for name, value in card["digests"].items() if value]
    return "\n".join(lines) + "\n"


def _note(kind: str, texts: Sequence[str]) -> str:
    many = f"{count(len(texts))}, such as " if len(texts) > 1 else ""
    return f"{_plain(kind)}: {many}{_plain(texts[0])}" if texts else _plain(kind)


def _phase_row(name: str, phase: Mapping) -> str:
    options = ", ".join(f"{k}={_plain(v)}" for k, v in phase["options"].items())
    return f"| {name} | {decimal(phase['seconds'], 0)} | {count(phase['trained_parameters'])} | {options} |"


def _measured(metrics: Mapping, words: Mapping, first: str, said: str | None) -> list[str]:
    if not metrics:
        return ["Not evaluated on a test split."]
    names = sorted(_METRICS, key=lambda name: name != first)
    lines = ["| model | split | n | " + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
    for model, found in metrics.items():
        cells = [_estimate(name, found.get(name)) for name in names]
        lines.append(f"| {_plain(model)} | {_plain(found['split'])} | {count(found['n'])} | {' | '.join(cells)} |")
    copies = [(model, tables.copies(found, words["many"])) for model, found in metrics.items()]
    told = [f"The control: {_plain(said, 400)}"] if said else []
    told += [f"{_plain(model)}: {text}" for model, text in copies if text]
    return [*lines, "", "With 95 % intervals, before the temperature.", *(line for text in told for line in ("", text))]


def _estimate(name: str, estimate: Mapping | None) -> str:
    if estimate is None:
        return "-"
    if name in _SHARES:
        return f"{percent(estimate['value'])} ({percent_range(estimate)})"
    return f"{decimal(estimate['value'])} ({decimal_range(estimate)})"


def _calibration(found: Mapping, words: Mapping) -> list[str]:
    if not found["n"]:
        return [f"Probabilities are not calibrated: there were too few validation {words['many']}, or all were right."]
    ended = f" It ended at its limit, {found['limit']:g}: do not rely on the probabilities." if "limit" in found else ""
    return [
        f"Probabilities are softmax(logits / {found['temperature']:.3f}); the temperature (95 % interval "
        f"{decimal_range(found)}) was fitted on {count(found['n'])} validation {words['many']}.{ended}"
    ]


def _assessed(card: Mapping) -> list[str]:
    lines = []
    if verdict := card["verdict"]:
        lines += ["", "## Adaptation", "", f"{_plain(verdict['advice'])}: {_plain(verdict['rule'])}."]
    for name, found in card["shift"].items():
        lines += ["", f"Under shift, {_plain(name)}: {percent(found['value'])} right ({percent_range(found)})."]
    return lines


def _artefact(export: Mapping, words: Mapping) -> list[str]:
    parity = export["parity"]
    against = parity.get("original") or parity
    lines = [
        f"- {byte_size(export['bytes'])}; signatures {', '.join(export['signatures'])}",
        f"- run by itself on {count(parity['n'])} {parity['split']} {words['many']} it names the class that was "
        f"measured on {percent(against['argmax_agreement'], 2)}; probabilities differ by "
        f"{against['max_probability_difference']:.1g} at most",
        f"- it is right on {percent(export['accuracy']['value'])} ({percent_range(export['accuracy'])}) of them",
    ]
    if against is not parity:
        lines.append(
            f"- what was measured was computed in another precision; from the same weights in its own it differs by "
            f"{parity['max_probability_difference']:.1g} at most"
        )
    for batch, seconds in export["latency"].items():
        lines.append(f"- {1e3 * seconds['value']:.1f} ms for a batch of {batch} on the machine that exported it")
    return lines


def _plain(text: object, limit: int = 120) -> str:
    """Returns one line, escaped so that it is neither HTML nor ends a cell of a table."""
    return one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("`", "'")


def as_code(text: object) -> str:
    """Returns one line as code, between backticks, in which Markdown has no effect."""
    return "`" + one_line(text, 120).replace("`", "'") + "`"
