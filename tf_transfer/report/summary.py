"""Selects the valid records of a run, and what they say about each phase and model.

Records are dicts with a `kind`; any of them may be missing. Training a phase again supersedes its earlier records,
and the records of models that were made from its earlier model.
"""

from collections.abc import Sequence

from tf_transfer.phases import catalogue
from tf_transfer.report import control

# The models that a run can compare, with their description, in the order in which they are shown.
MODELS = {name: catalogue.PHASES[name].about for name in catalogue.TRAINED}

CHOICE = "choice"
"""Kind of the record that says which model is exported, and heads the page."""

_SUPERSEDED_KINDS = (
    "plan",
    "race",
    "epoch",
    "path",
    "rollback",
    "phase_end",
    "evaluation",
    "comparison",
    "export",
    "artefact",
    "assessment",
    CHOICE,
)


def current(records: Sequence[dict]) -> list[dict]:
    """Returns the valid records: without those that a later training of their phase supersedes.

    The latest `plan` of a phase begins it again: earlier records of the phase, of its model, and of models built on it
    are void. When a run was started over, all earlier records are void but the readings of the test split.
    """
    over = max((i for i, r in enumerate(records) if r.get("kind") == "start_over"), default=-1)
    records = [r for i, r in enumerate(records) if i > over or r.get("kind") == "test_read"]
    starts = {r.get("phase"): i for i, r in enumerate(records) if r.get("kind") == "plan"}

    def begun(record: dict) -> int:
        """Returns the index of the latest plan on which a record depends."""
        # Records about models name them; records about training name their phase.
        owners = [record[key] for key in ("model", "a", "b") if key in record] or [record.get("phase")]
        owners += record.get("candidates", ())
        if record.get("kind") == "assessment":
            # An assessment depends on the models that it found in the run.
            owners = [
                model for model, seconds in record.get("asked", {}).get("models", {}).items() if seconds is not None
            ]
        return max((starts.get(p, 0) for owner in owners for p in (owner, *catalogue.ancestors(owner))), default=0)

    return [r for i, r in enumerate(records) if r.get("kind") not in _SUPERSEDED_KINDS or i >= begun(r)]


def latest(records: Sequence[dict], kind: str) -> dict:
    """Returns the last record of a kind, or an empty dict."""
    return next((r for r in reversed(records) if r.get("kind") == kind), {})


def target_data(records: Sequence[dict], dataset: str | None) -> dict:
    """Returns the last `data` record of the named data set, or of any where none is named so."""
    found = [r for r in records if r.get("kind") == "data"]
    named = [r for r in found if r.get("dataset") == dataset]
    return (named or found or [{}])[-1]


def by_phase(records: Sequence[dict], kind: str) -> dict[str, dict]:
    """Returns the last record of a kind for each phase, in the order in which the phases began."""
    found = {}
    for record in records:
        if record.get("kind") == kind:
            found[record.get("phase", "")] = record
    return found


def epochs(records: Sequence[dict]) -> dict[str, list[dict]]:
    """Returns the epoch records of each phase, ascending; where an epoch was recorded twice, the last."""
    found: dict[str, dict[int, dict]] = {}
    for record in current(records):
        if record.get("kind") == "epoch":
            found.setdefault(record.get("phase", ""), {})[record.get("epoch", 0)] = record
    return {phase: [rows[e] for e in sorted(rows)] for phase, rows in found.items()}


def paths(records: Sequence[dict]) -> dict[str, list[dict]]:
    """Returns the `path` records of each phase whose head was solved, in order."""
    found: dict[str, list[dict]] = {}
    for record in current(records):
        if record.get("kind") == "path":
            found.setdefault(record.get("phase", ""), []).append(record)
    return found


def main_split(records: Sequence[dict]) -> str:
    """Returns the split on which models are compared: `test` if any was evaluated on it."""
    splits = [r.get("split", "") for r in records if r.get("kind") == "evaluation" and r.get("metrics")]
    return next((s for s in ("test", "validation") if s in splits), splits[-1] if splits else "test")


def evaluations(records: Sequence[dict]) -> dict[str, dict]:
    """Returns each model's last evaluation on the main split: first `MODELS` in their order, then others."""
    split = main_split(records)
    found = {
        r.get("model", ""): r
        for r in current(records)
        if r.get("kind") == "evaluation" and r.get("split", "") == split and r.get("metrics")
    }
    order = list(MODELS) + sorted(set(found) - set(MODELS))
    return {model: found[model] for model in order if model in found}


def tested(classes: Sequence[dict]) -> list[dict]:
    """Returns the rows of classes that have test examples; figures of the others are undefined."""
    return [c for c in classes if c["support"]]


def headline(evaluated: dict[str, dict], chosen: str | None = None) -> str | None:
    """Returns the evaluated model that heads the page: the chosen one, else the last stage of adaptation."""
    if chosen in evaluated:
        return chosen
    others = [m for m in evaluated if m not in MODELS]
    ranked = catalogue.by_adaptation()
    adapted = [m for m in ranked if m in catalogue.exported()]
    return next((m for m in [*adapted, *others[::-1], *ranked] if m in evaluated), None)


def chosen(records: Sequence[dict]) -> dict:
    """Returns the valid record of the choice of a model, or an empty dict."""
    return latest(current(records), CHOICE)


def beside_headline(records: Sequence[dict]) -> tuple[dict, dict]:
    """Returns the record of the blind guess and the evaluation of the model that heads the page; {} where missing."""
    evaluated = evaluations(records)
    model = headline(evaluated, chosen(records).get("model"))
    return dict(control.find(current(records))), evaluated.get(model, {})


def leading(records: Sequence[dict]) -> str:
    """Returns the metric that comes first in what is told of a run, see `control.leading`."""
    return control.leading(*beside_headline(records))
