"""Preview of an assessment for the dry run: its plan, from a few random examples and without the data."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tf_transfer.assess import assessment, plan, shift, study, subsample
from tf_transfer.assess.networks import Network, open_network
from tf_transfer.assess.plan import Trial
from tf_transfer.console import clock
from tf_transfer.errors import one_line
from tf_transfer.phases.catalogue import FULL
from tf_transfer.session.session import Session

# Random examples that a network is timed on, and in a step of its training.
_FEW, _STEP = 64, 16


def lines(session: Session, counts: Sequence[int], held: int, splits: Sequence[str]) -> list[str]:
    """Describes what an assessment would train and measure, and how long it would take, in lines.

    Args:
        session: the command.
        counts: training examples of each class.
        held: examples that validate.
        splits: of the data set.
    """
    budget, counts = 60 * session.config.assess.assess_budget, [n for n in counts if n]
    candidates = assessment.candidates(session.config)
    total, names = sum(counts), tuple(map(str, counts))
    some = _random(session)
    networks = {
        spec: open_network(_of(session, spec), names, (total, held), some, _STEP, loaded=False)
        for spec in (None, *candidates)
    }
    each, start = (sum(getattr(n, name) for n in networks.values()) for name in ("seconds", "start"))
    passes = subsample.passes(total, held)
    part = subsample.share(passes, each, budget)
    left = budget - start - part * each * passes
    points = plan.budgets([int(part * n) for n in counts])
    size = {point: total * part if point is None else point * len(counts) for point in points}

    def cost(trial: Trial, scale: float) -> float:
        network = networks[trial.backbone]
        own = max(1, int(size[trial.labels]))
        facts = network.session.facts(own, held, names, network.classifier, loaded=False)
        epochs = network.session.plan(FULL, facts).epochs
        return plan.training_seconds(network.start, network.step, scale * epochs * size[trial.labels])

    seed = session.config.run.seed
    there = max(0.0, left - _reserved(session, networks[None], budget, held or total, len(networks)))
    _, chosen, missed = plan.fit(list(size), seed, candidates, there, cost)
    spent = sum(cost(t, chosen.scale) for t in chosen.trials)
    of_some = "" if part >= 1 else f" of {part:.0%} of the {session.modality.many}"
    many = f"{len(networks)} networks are" if candidates else "the network is"
    found = [f"about {clock(start + part * each * passes)}: {many} built, features{of_some}"]
    shorter = f", each for {chosen.scale:g} of its epochs" if chosen.scale < 1 and chosen.trials else ""
    found.append(f"about {clock(spent)}: {_told(chosen.trials, seed)}{shorter}")
    if dropped := list(plan.summed([*missed, *chosen.dropped], seed)):
        found.append(f"no time for {', '.join(one_line(name, 60) for name in dropped)}")
    return [*found, _rest(session, networks[None], left - spent, splits)]


def _of(session: Session, spec: str | None) -> Session:
    if spec is None:
        return session
    model = study.candidate(session.config.model, spec, session.input_size)
    other = dataclasses.replace(session, config=dataclasses.replace(session.config, model=model))
    other.strategy = session.strategy
    return other


def _random(session: Session) -> np.ndarray:
    return session.modality.random(_FEW, session.input_size)


def _reserved(session: Session, network: Network, budget: float, held: int, networks: int) -> float:
    """See `plan.reserved`."""
    corruptions = shift.most(session.modality, _random(session), 3 * network.seconds)
    predictions = subsample.predictions(network.seconds, budget, 2 * held)
    sets = bool(session.config.data.source_dataset) + len(shift.parse(session.config.assess.shifted))
    return plan.reserved(budget, corruptions, predictions, networks, sets)


def _told(trials: Sequence[Trial], seed: int) -> str:
    """Names the trainings of the first seed by their labels, and counts those of other seeds."""
    if not trials:
        return "heads alone, no training of the whole network"
    first: dict[str, list[str]] = {}
    for trial in trials:
        if trial.seed == seed:
            first.setdefault(plan.told(trial.labels), []).append(one_line(trial.backbone or trial.kind, 60))
    more = len(trials) - sum(map(len, first.values()))
    found = [f"{', '.join(kinds)} on {labels}" for labels, kinds in first.items()]
    return "heads; " + "; ".join([*found, *([f"{more} trainings with other seeds"] if more else [])])


def _rest(session: Session, network: Network, left: float, splits: Sequence[str]) -> str:
    each = shift.seconds(session.modality, _random(session), 3 * network.seconds)
    count = shift.affordable(each, left, there=10**6)
    parts = [f"{'test' if 'test' in splits else 'validation'} {session.modality.many}", "forecasts"]
    source = session.config.data.source_dataset
    parts += [f"distance to {one_line(source, 60)}"] if source else []
    kinds = len(session.modality.corruptions)
    parts += [f"the {kinds} corruptions of up to {count:,} {session.modality.many}"] if count >= 30 else []
    sets = ", ".join(one_line(name, 40) for name in shift.parse(session.config.assess.shifted))
    return (
        f"about {clock(max(0.0, left))}: {', '.join([*parts, *([sets] if sets else [])])}, calibration, drift, verdict"
    )
