"""The candidate networks of an assessment: built, timed on a few examples, and run over the target once."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_transfer.config import Training
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.machine.timing import timed
from tf_transfer.models import weights
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor
from tf_transfer.phases.catalogue import FULL, HEAD
from tf_transfer.session import head as heads
from tf_transfer.session import prepare
from tf_transfer.session.session import Session
from tf_transfer.training.step import Stepper

# Folder of the run directory that holds all that an assessment writes.
FOLDER = "assess"
# Examples of a timed step, and at most of a timed pass.
_STEP_EXAMPLES, _PASS_EXAMPLES = 32, 128


@dataclass(frozen=True)
class Network:
    """A candidate as it is built.

    Attributes:
        session: of this candidate.
        classifier: as pretrained.
        seconds: of one example in one pass of the frozen network.
        step: seconds of one example in a step that trains the whole network.
        start: seconds in which the network is built and traced.
    """

    session: Session
    classifier: Classifier
    seconds: float
    step: float
    start: float

    @functools.cached_property
    def heading(self) -> Session:
        """The session that solves its heads, with default options whatever the options of the run's head."""
        model = dataclasses.replace(self.session.config.model, dropout=0.0)
        return self.session.branch(FOLDER, model=model, training=Training())


@dataclass(frozen=True)
class Pool(Network):
    """A candidate with its features of the target.

    Attributes:
        train: features of the training examples, view after view.
        validation: features of the validation examples, or None.
        digest: of the pretrained weights and of the examples.
    """

    train: Split
    validation: Split | None
    digest: str


def open_network(
    session: Session,
    class_names: Sequence[str],
    counts: tuple[int, int],
    some: np.ndarray,
    step: int = _STEP_EXAMPLES,
    loaded: bool = True,
    now: Callable[[], float] = time.perf_counter,
) -> Network:
    """Builds a candidate and times it.

    Args:
        session: of the candidate.
        class_names: of the target.
        counts: numbers of examples of the target that train and that validate.
        some: stored examples `[N, ...]` on which it is timed.
        step: number of them in a training step.
        loaded: with its pretrained weights; random ones take as long.
        now: reads the clock.
    """
    begun = now()
    classifier = session.pretrained(len(class_names), None if loaded else "random")
    Predictor(classifier.features, session.strategy, 2)(some[:2])
    start = now() - begun
    plan = session.plan(FULL, session.facts(*counts, class_names, classifier, loaded))
    seconds = pass_seconds(session, classifier, some[:_PASS_EXAMPLES], now)
    trained = trained_step_seconds(session, classifier, some[:step], plan, now)
    return Network(session, classifier, seconds, trained, start)


def open_pool(network: Network, data: TrainingData) -> Pool:
    """Runs a candidate over the target once."""
    session, classifier = network.session, network.classifier
    plan = network.heading.plan(HEAD, network.heading.facts_of(data, classifier))
    train, validation = heads.features(session, classifier, data, plan)
    digest = weights.digest(classifier.backbone) + data.train.fingerprint
    return Pool(session, classifier, network.seconds, network.step, network.start, train, validation, digest)


def pass_seconds(
    session: Session, classifier: Classifier, some: np.ndarray, now: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of an example in the frozen network.

    They are measured, as the pass over the data may take its features from the store.

    Args:
        session: of the network.
        classifier: the network.
        some: stored examples `[N, ...]` of the pass.
        now: reads the clock.
    """
    predict = Predictor(classifier.features, session.strategy, min(64, len(some)))
    # The first batch compiles: it is not counted.
    predict(some[:1])
    return timed(lambda: predict(some), now=now)[0] / len(some)


def trained_step_seconds(
    session: Session, classifier: Classifier, some: np.ndarray, plan: Training, now: Callable[[], float]
) -> float:
    """Seconds of an example in a step that trains the whole network; the network is left as it was.

    A step takes from 4 to more than 10 times as long as a pass of the frozen network, by processor and precision.

    Args:
        session: of the network.
        classifier: the network.
        some: stored examples `[N, ...]` of the step.
        plan: of the phase full.
        now: reads the clock.
    """
    replicas = session.strategy.num_replicas_in_sync
    size = max(len(some) // replicas, 1) * replicas
    rows = np.arange(size, dtype=np.int32)
    split = Split(some[rows % len(some)], rows % classifier.num_classes, [""] * size)
    names = tuple(map(str, range(classifier.num_classes)))
    data = TrainingData(split, None, names, np.ones(len(names), np.float32))
    # Other methods may want data that is not here; their steps take about as long.
    plan = dataclasses.replace(plan, method="supervised", batch_size=size, accumulate=1)
    kept, xla = classifier.state_values(), classifier.xla
    try:
        ready = prepare.in_steps(session, FULL, classifier, data, plan)
        return min(step_seconds(session, ready, plan, 2, now)) / size
    finally:
        classifier.xla = xla
        classifier.set_batchnorm("frozen")
        classifier.set_state(kept)


def step_seconds(
    session: Session,
    ready: prepare.Prepared,
    plan: Training,
    n: int,
    now: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of each of `n` steps of a training, after one that compiles; their rate is 0.

    Args:
        session: its strategy's replicas share each batch.
        ready: the method and its streams.
        plan: of the phase.
        n: number of steps.
        now: reads the clock.
    """
    with session.strategy.scope():
        stepper = Stepper(ready.method, plan, ready.streams.sizes, session.strategy)
    batches, numbers = ready.streams.stream(session.strategy, 0, n + 1), itertools.count()
    return timed(lambda: stepper(next(batches), 0.0, next(numbers)), 1, n, now)
