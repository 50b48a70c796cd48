"""`--dry_run`: prints configuration and parameters, and estimates time and memory from a few real steps."""

import dataclasses
import resource
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tf_transfer.assess import assessment, networks, preview
from tf_transfer.console import clock
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData, validating
from tf_transfer.errors import MissingDataError, one_line
from tf_transfer.machine import devices
from tf_transfer.machine.timing import timed
from tf_transfer.models import inference
from tf_transfer.phases import catalogue
from tf_transfer.session import prepare
from tf_transfer.session import train as fitting
from tf_transfer.session.plan import SHARE
from tf_transfer.session.session import Session

_PROBED_STEPS = 3


def show(session: Session, names: Sequence[str]) -> None:
    """Prints what the training phases and the assessment among `names` would do; without any, head and full.

    Reads labels, and of folders and CSV files every training file, whose content says what validates; decodes no
    example, and keeps nothing that it trains.

    Times are extrapolated from a few steps of each phase on random examples on this machine, memory is the peak of
    the process that took them; neither includes reading the data.
    """
    fitting.check_specs(session.config)
    if "assess" in names:
        assessment.check(session.config)
    say = session.console.line
    for stage, values in session.config.to_dict().items():
        say(f"{stage:<9}" + "  ".join(f"{k}={one_line(v)}" for k, v in values.items() if v is not None))
    say(
        f"{'device':<9}"
        + "  ".join(f"{k}={v}" for k, v in devices.facts(session.strategy, session.precision)["device"].items())
    )
    sizes: dict[bool, _Sizes] = {}
    asked = [n for n in names if n in catalogue.TRAINED or n == "assess"]
    for phase in asked or [n for n in catalogue.ALL if n in catalogue.TRAINED]:
        of_source = phase in catalogue.on_source()
        if of_source not in sizes:
            sizes[of_source] = _sizes(session, of_source)
        (_show_assessment if phase == "assess" else _show_phase)(session, phase, sizes[of_source])
    say(f"memory   peak of this process {_peak_gb():.1f} GB (host)")
    say(f"run      would be kept in {one_line(session.run.path)}")


def _show_phase(session: Session, phase: str, sizes: "_Sizes") -> None:
    examples, held, class_names, known = sizes.examples, sizes.held, sizes.class_names, sizes.known
    few = session.modality.random(64, session.input_size)
    split = Split(few, np.arange(64, dtype=np.int32) % len(class_names), [""] * 64)
    classifier = session.pretrained(len(class_names), source=catalogue.RANDOM)
    candidates = session.candidates(phase, session.facts(examples, held, class_names, classifier, loaded=False))
    plan = candidates[0]
    data = TrainingData(split, None, class_names, np.ones(len(class_names), np.float32))
    ready = None if plan.feature_views else prepare.in_steps(session, phase, classifier, data, plan)
    groups = (ready.method if ready else prepare.method(session, phase, classifier, data, plan)).groups()
    trained = sum(int(np.prod(v.shape)) for g in groups for v in g.variables)
    say, many = session.console.line, session.modality.many
    say(f"{phase:<9}{trained:,} of {classifier.parameters():,} parameters train in {', '.join(g.name for g in groups)}")
    say(f"{'':<9}" + "  ".join(f"{k}={v}" for k, v in dataclasses.asdict(plan).items() if v != ""))
    if len(candidates) > 1:
        told = " or ".join(f"bn={c.bn} learning_rate={c.learning_rate:g}" for c in candidates)
        say(f"{'':<9}validation chooses after {SHARE:.0%} of the epochs: {told}")
    if not ready:
        forward = _per_example(inference.Predictor(classifier.logits, session.strategy, 32), split)
        seconds = forward * (examples * plan.feature_views + held)
        shown = f" in {plan.feature_views} views" if plan.feature_views > 1 else ""
        work = f"{shown} and {held:,} validation {many} once through the frozen backbone, {1 / forward:,.0f}/s"
    else:
        step = statistics.mean(networks.step_seconds(session, ready, plan, _PROBED_STEPS))
        # The losers of a race stop early.
        epochs = plan.epochs * (1 + SHARE * (len(candidates) - 1))
        seconds = step * epochs * examples / plan.batch_size
        work = f" in {epochs:g} epochs, {plan.batch_size / step:,.0f}/s"
    assumed = "" if known else " (assumed: the data is not here)"
    say(f"{'':<9}about {clock(seconds)}{assumed}: {examples:,} training {many}{work}")


def _show_assessment(session: Session, phase: str, sizes: "_Sizes") -> None:
    assumed = "" if sizes.known else " (assumed: the data is not here)"
    budget = clock(60 * session.config.assess.assess_budget)
    session.console.line(
        f"{phase:<9}{budget} by --assess_budget, {sizes.examples:,} training {session.modality.many}{assumed}"
    )
    for line in preview.lines(session, sizes.counts, sizes.held, sizes.splits):
        session.console.line(f"{'':<9}{line}")


class _Sizes(NamedTuple):
    """Examples by class, validation examples, class names, splits, and whether they come from the data itself."""

    counts: tuple[int, ...]
    held: int
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    known: bool

    @property
    def examples(self) -> int:
        return sum(self.counts)


def _sizes(session: Session, of_source: bool) -> _Sizes:
    data = session.config.data
    dataset = data.source_dataset if of_source and data.source_dataset else data.dataset
    try:
        source, plan = session.datasets.planned(dataset, few_shot=not of_source)
        _, held = validating(source, plan)
        counts = np.bincount(source.labels("train")[plan.train], minlength=len(source.class_names))
        return _Sizes(tuple(counts.tolist()), len(held), tuple(source.class_names), tuple(source.splits), True)
    except MissingDataError as e:
        session.console.line(f"note     {e}")
        return _Sizes((4_500,) * 10, 5_000, tuple(f"class{i}" for i in range(10)), ("train", "test"), False)


def _per_example(predict: Callable, split: Split) -> float:
    return timed(lambda: predict(split.inputs), warm=1)[0] / len(split)


def _peak_gb() -> float:
    # Linux reports kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
