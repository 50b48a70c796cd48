"""Which model of a run is exported and heads its report: the one that validates best, unless `--export_phase` says."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import selection
from tf_transfer.phases import catalogue
from tf_transfer.report import summary
from tf_transfer.run.directory import RunDir

AUTO = "auto"
"""The value of `--export_phase` that leaves the choice to validation."""


@dataclass(frozen=True)
class Choice:
    """The model to export.

    Attributes:
        model: name of its phase.
        why: in words, behind the name of the model and a colon; empty where there was nothing to choose.
        candidates: names of the phases it was chosen from, the simplest first.
        decided: whether validation or `--export_phase` decided; else it is the last one trained.
    """

    model: str
    why: str
    candidates: tuple[str, ...]
    decided: bool = False


def choose(run: RunDir, asked: str = AUTO) -> Choice | None:
    """Chooses among the trained models that may be exported; None where there is none.

    Validation decides, see `selection.chosen`. Where it cannot, for want of validation examples or because a phase
    kept no results of them, the model that was trained last is taken.

    Args:
        run: the run.
        asked: a phase, or `AUTO`, for which a phase that has not ended counts.
    """
    there = {name: done for name in reversed(catalogue.exported()) if (done := run.done(name))}
    if len(there) < 2:
        return next((Choice(name, "", tuple(there)) for name in there), None)
    right, missing = _validated(run, there)
    if asked in there:
        return Choice(asked, f"as --export_phase says{_beside(right, asked)}", tuple(there), decided=True)
    last = list(there)[-1]
    if missing:
        return Choice(last, f"the last one trained, as {missing}", tuple(there))
    model = selection.chosen(right)
    return Choice(model, _why(right, model), tuple(there), decided=True)


def check(run: RunDir, asked: str, names: Collection[str] = ()) -> None:
    """Refuses to export a model that is not there.

    Args:
        run: the run.
        asked: the value of `--export_phase`.
        names: phases that this command trains before.

    Raises:
        UserError: the phase has not ended, and is not among `names`.
    """
    if asked != AUTO and asked not in names and not run.done(asked):
        raise UserError(
            f"--export_phase={asked}: {one_line(run.path)} has no model of that phase; run --phase={asked} first, or "
            f"give --export_phase={AUTO}, which takes what validates best."
        )


def _validated(run: RunDir, there: Mapping[str, Mapping]) -> tuple[dict[str, np.ndarray], str | None]:
    """Returns whether each model is right on each validation example; where they can't be compared, nothing and why."""
    found = {name: run.validated(name) for name in there}
    if not any(done.get("validation_examples") for done in there.values()):
        return {}, "there are no validation examples to choose by"
    if lacking := [name for name, each in found.items() if each is None]:
        return {}, f"{' and '.join(lacking)} kept no results of single validation examples"
    # The digest is of the split, from which unreadable files are left out after it is taken.
    if len({(done.get("split_digest"), len(found[name]["right"])) for name, done in there.items()}) > 1:
        return {}, "they were validated on different examples"
    return {name: each["right"] for name, each in found.items()}, None


def _beside(right: Mapping[str, np.ndarray], model: str) -> str:
    """Returns how a model validates beside the others."""
    if model not in right:
        return ""
    others = " and ".join(f"{_percent(right[name])} of {name}" for name in right if name != model)
    return f"; it validates {_percent(right[model])} against {others}"


def _why(right: Mapping[str, np.ndarray], model: str) -> str:
    """Returns the reason of a choice that validation made."""
    best, last = max(right, key=lambda name: right[name].mean()), list(right)[-1]
    rival = best if model != best else next(name for name in right if name != model)
    told = f"it validates {_percent(right[model])} against {_percent(right[rival])} of {rival}"
    apart = selection.lead(right[best], right[model if model != best else rival])
    error = f"one standard error ({100 * apart.standard_error:.1f} points on {apart.n:,})"
    if apart.clear:
        return f"{told}, more than {error} apart"
    return f"{told}, within {error}{', too few to tell: the last one' if model == last else ': the simpler one'}"


def _percent(right: np.ndarray) -> str:
    return f"{100 * right.mean():.1f} %"


def decide(run: RunDir, asked: str) -> Choice | None:
    """Chooses as `choose` does, and records the choice where it was decided and is new.

    Without a record the last model trained heads the report, so that one is recorded only in place of another.
    """
    choice = choose(run, asked)
    if choice and choice.why:
        facts = asdict(choice) | {"candidates": list(choice.candidates)}
        last = summary.latest(summary.current(run.records()), summary.CHOICE)
        if (choice.decided or last) and any(last.get(name) != value for name, value in facts.items()):
            run.record(summary.CHOICE, **facts)
    return choice


def told(choice: Choice) -> str:
    """Returns the choice in words, "the head model: it validates ...", as far as there was one."""
    return f"the {choice.model} model: {choice.why}" if choice.why else ""
