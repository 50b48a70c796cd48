"""Validation chooses between plans of a phase: all begin, the losers stop, the winner goes on from where it stands.

Every leg is a training of its own, with checkpoints of its own; up to the choice no epoch is recorded. The choice is a
function of the validation scores, so that a run that is killed at any moment chooses as it would have. The winner ends
as it would have without the others.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tf_transfer.config import Training
from tf_transfer.errors import UserError
from tf_transfer.machine.strategy import barrier
from tf_transfer.run.directory import RunDir
from tf_transfer.run.records import attempt
from tf_transfer.session.log import Log
from tf_transfer.session.plan import SHARE
from tf_transfer.session.resume import Resume
from tf_transfer.session.session import Session
from tf_transfer.training.loop import Fit, TrainingDivergedError
from tf_transfer.training.progress import Progress, challenges

RACE = "race"
"""Kind of the record of a choice, and its name in the facts of the phase."""
_WORDS = {"train": "trained"}


@dataclass
class Leg:
    """One of the trainings between which validation chooses, or the only one.

    Attributes:
        plan: its options.
        log: of its epochs.
        resume: its checkpoints.
        fit: the training, once it has begun in this command.
        set_up: prepares the network for it, again after another leg has trained.
    """

    plan: Training
    log: Log
    resume: Resume
    fit: Fit | None = None
    set_up: Callable[[], None] = lambda: None


def choose(
    session: Session, phase: str, legs: Sequence[Leg], make: Callable[[Leg], Fit], record: Callable[[Leg], None]
) -> tuple[Leg, dict[str, Any]]:
    """Trains the first part of every leg, and returns the winner, ready to go on, and the record of the choice.

    Args:
        session: the command.
        phase: the phase.
        legs: the trainings; of equal ones the first wins.
        make: makes the training of a leg, from the weights with which the phase begins.
        record: records the plan of the winner.

    Raises:
        TrainingDivergedError: every leg diverged.
        Stopped: a signal asked to stop; the legs are saved.
    """
    told = _chosen(session.run, phase)
    winner = next((leg for leg in legs if told and leg.plan.bn == told["chosen"]), None)
    if winner is None or winner.resume.step is None:
        winner, told = _decide(session, phase, legs, make)
    winner.fit = winner.fit or make(winner)
    winner.set_up()

    def recorded():
        record(winner)
        session.run.record(RACE, phase=phase, **told)
        winner.log.record_history()

    wait = functools.partial(barrier, session.strategy)
    winner.resume.recount(recorded, max(leg.resume.seconds for leg in legs), wait)
    # All workers go on from the checkpoint that the chief has written.
    wait()
    winner.log.leg = ""
    return winner, told


def _decide(session: Session, phase: str, legs: Sequence[Leg], make: Callable[[Leg], Fit]) -> tuple[Leg, dict]:
    """Trains the legs up to the choice."""
    ends, errors = [], []
    for leg in legs:
        leg.fit = make(leg)
        until = _until(leg.fit)
        try:
            leg.fit.run(until)
            ends.append((leg, leg.fit.at))
        except TrainingDivergedError as e:
            session.console.note(f"{phase} with BatchNorm statistics {_word(leg)}: {e}")
            errors.append(e)
        barrier(session.strategy)
    if not ends:
        raise errors[0]
    winner, best = ends[0]
    for leg, at in ends[1:]:
        if challenges(at, best):
            winner, best = leg, at
    told = _told(winner, [(leg, at) for leg, at in ends], legs, until, max(winner.fit.ends))
    session.console.line(f"{phase}  {told['text']}")
    for leg in legs:
        if leg is not winner:
            leg.fit = None
    return winner, told


def _until(fit: Fit) -> int:
    """Returns the epoch after which validation chooses: the first one that is validated in its share of all epochs."""
    return next(e for e in fit.ends if e >= SHARE * max(fit.ends))


def _told(winner: Leg, ends: Sequence[tuple[Leg, Progress]], legs: Sequence[Leg], until: int, epochs: int) -> dict:
    scores = {leg.plan.bn: at.kept for leg, at in ends}
    value = {bn: f"{kept['value']:.3f}" for bn, kept in scores.items()}
    others = " and ".join(f"{_word(leg)} ({value.get(leg.plan.bn, 'diverged')})" for leg in legs if leg is not winner)
    return {
        "option": "bn",
        "chosen": winner.plan.bn,
        "epochs": until,
        "of": epochs,
        "validation": {leg.plan.bn: scores.get(leg.plan.bn) for leg in legs},
        "text": f"BatchNorm statistics: {_word(winner)} (validation {value[winner.plan.bn]}) against {others} after "
        f"{until} of {epochs} epochs",
    }


def _word(leg: Leg) -> str:
    return _WORDS.get(leg.plan.bn, leg.plan.bn)


def _chosen(run: RunDir, phase: str) -> dict[str, Any] | None:
    """Returns what an earlier command recorded of the choice in the training that is under way."""
    records = run.records()
    found = [records[i] for i in attempt(records, phase) if records[i]["kind"] == RACE]
    return {k: v for k, v in found[-1].items() if k not in ("kind", "time", "phase")} if found else None


def refuse_others(phase: str, legs: Sequence[str]) -> None:
    """Refuses to train by one plan where an interrupted training left the choice of it to validation.

    Raises:
        UserError: there are legs.
    """
    if legs:
        raise UserError(
            f"--phase={phase} was interrupted with other options: the BatchNorm statistics were left to validation, "
            "and now are not. Give the same options to go on, or --restart to begin it anew."
        )
