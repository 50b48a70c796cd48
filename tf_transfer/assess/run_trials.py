"""Runs the trials of an assessment: heads, then whole networks as the time allows."""

from collections.abc import Sequence

import numpy as np

from tf_transfer.assess import plan, shift, subsample
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.study import Study
from tf_transfer.assess.trials import TrialResult, Trials
from tf_transfer.phases.catalogue import FULL, HEAD

# Share of the budget that must be left after the first control, which may use time kept for what follows.
_LAST = 0.1
# Number of models that are measured under shift: head, full, and its control.
_MEASURED = 3
# Seeds of heads, which are quick, and the share of the trainings' time that further heads may take.
_HEAD_SEEDS, _HEADS = 5, 0.25
# A head on fewer examples than these takes no less time.
_FEW_EXAMPLES = 200


def train(study: Study) -> None:
    """Runs the trials that the time allows; heads first, which take seconds."""
    trials = Trials(study.session, study.data, study.pools)
    others = [spec for spec in study.pools if spec is not None]
    begun, first = study.clock.now(), Trial(HEAD, study.top, study.seed)
    study.reserved = _reserved(study)
    study.clock.say("heads")
    _add(study, study.clock.spend("heads", lambda: trials.head(first)))
    each = (study.clock.now() - begun) / max(_FEW_EXAMPLES, trials.size(first)[0])
    heads = sum(_head_seconds(study, trials, t, each) for t in _wanted_heads(study, others))
    chosen = _choose(study, trials, others, heads)
    study.scale = chosen.scale
    _more_heads(study, trials, others, each)
    for what, seconds in plan.summed(chosen.dropped, study.seed).items():
        study.clock.leave_out(what, f"it would take about {seconds:.0f} s")
    _whole(study, trials, chosen.trials)


def _more_heads(study: Study, trials: Trials, others: Sequence[str], each: float) -> None:
    """Solves the other heads that the time allows, those of the first seed first."""
    if (top := Trial(HEAD, study.top, study.seed)) not in study.ran:
        # The first head was solved on more labels than whole networks can be trained on in time.
        study.ran.clear()
        _add(study, trials.head(top))
    keep = study.clock.left() - _HEADS * max(0.0, study.clock.left() - study.reserved)
    missing: dict[str, float] = {}
    for trial in _wanted_heads(study, others):
        needed = _head_seconds(study, trials, trial, each)
        if study.clock.left() - needed >= keep:
            begun = study.clock.left()
            _add(study, study.clock.spend("heads", lambda trial=trial: trials.head(trial)))
            # The first head took longer than those after it, as it compiles.
            each *= min(1.0, (begun - study.clock.left()) / needed)
        else:
            name = str(trial) if trial.seed == study.seed else "heads of other seeds"
            missing[name] = missing.get(name, 0.0) + needed
    for what, seconds in missing.items():
        study.clock.leave_out(what, f"it would take about {max(1.0, seconds):.0f} s")


def _wanted_heads(study: Study, others: Sequence[str]) -> list[Trial]:
    few = [point for point in study.points if point is not None]
    found = [Trial(HEAD, point, study.seed) for point in study.points[:-1]]
    found += [Trial(HEAD, study.top, study.seed, spec) for spec in others]
    return [*found, *(Trial(HEAD, point, study.seed + s) for s in range(1, _HEAD_SEEDS) for point in few)]


def _head_seconds(study: Study, trials: Trials, trial: Trial, each: float) -> float:
    """Seconds of a head; `each` is the seconds of one example in the run's own network."""
    width = (study.pools[spec].classifier.num_features for spec in (trial.backbone, None))
    return each * max(_FEW_EXAMPLES, trials.size(trial)[0]) * next(width) / next(width)


def _reserved(study: Study) -> float:
    """Seconds to keep for what follows the trainings."""
    data, pool, options = study.data, study.pools[None], study.session.config
    modality, few = study.session.modality, data.train.take(np.arange(min(32, len(data.train))))
    some = shift.corruptible(few, modality, study.session.input_size)
    held = len(data.validation) if data.validation is not None else len(data.train)
    return plan.reserved(
        study.clock.seconds,
        shift.most(modality, some.inputs, _MEASURED * pool.seconds, study.clock.now),
        # A test split is about as large as the validation split, or somewhat larger.
        subsample.predictions(pool.seconds, study.clock.seconds, 2 * held),
        len(study.pools),
        bool(options.data.source_dataset) + len(shift.parse(options.assess.shifted)),
    )


def _whole(study: Study, trials: Trials, chosen: Sequence[Trial]) -> None:
    """Trains whole networks as long as the time kept for what follows is left."""
    expected, taken = 0.0, 0.0
    for number, trial in enumerate(chosen):
        # Estimates are rough: the error of those before corrects the next.
        estimated = _seconds(study, trials, trial, study.scale)
        needed = estimated * (max(1.0, taken / expected) if expected else 1.0)
        # The answer and its control may use time kept for what follows, but not all of it.
        least = study.reserved if number >= 2 else _LAST * study.clock.seconds
        if number and study.clock.left() - needed < least:
            study.clock.leave_out(str(trial), "trainings before took longer than expected")
            continue
        head = Trial(HEAD, trial.labels, trial.seed, trial.backbone)
        if trial.kind == FULL and head not in study.ran:
            _add(study, trials.head(head))
        study.clock.say(f"training {number + 1} of {len(chosen)}: {trial}")
        before = study.clock.left()
        _add(
            study, study.clock.spend("training", lambda t=trial, h=head: trials.whole(t, study.scale, study.ran.get(h)))
        )
        expected, taken = expected + estimated, taken + before - study.clock.left()


def _choose(study: Study, trials: Trials, others: Sequence[str], heads: float) -> plan.Choice:
    """Chooses the trainings that fit into the remaining time.

    Args:
        study: what is assessed; its label budgets may become fewer.
        trials: tells the number of examples of each trial.
        others: specs of the candidates.
        heads: seconds of the other heads.
    """
    there = max(0.0, study.clock.left() - study.reserved)
    seconds = there - min(heads, _HEADS * there)

    def cost(trial: Trial, scale: float) -> float:
        return _seconds(study, trials, trial, scale)

    study.points, chosen, missed = plan.fit(
        study.points, study.seed, others, seconds, cost, lambda trial: trials.made(trial) is not None
    )
    for what, needed in plan.summed(missed, study.seed).items():
        study.clock.leave_out(what, f"it would take about {needed:.0f} s")
    return chosen


def _seconds(study: Study, trials: Trials, trial: Trial, scale: float) -> float:
    if trials.there(trial, scale):
        return 0.0
    pool = study.pools[trial.backbone]
    return plan.training_seconds(pool.start, pool.step, scale * trials.epochs(trial) * trials.size(trial)[0])


def _add(study: Study, ran: TrialResult) -> None:
    study.ran[ran.trial] = ran
