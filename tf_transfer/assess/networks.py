"""The candidate networks of an assessment: built, timed on a few examples, and run over the target once."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_transfer.config import Training
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.machine.timing import timed
from tf_transfer.models import weights
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor
from tf_transfer.session import head as heads
from tf_transfer.session.session import Session
from tf_transfer.training.noise import Noise

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
    examples: np.ndarray,
    step: int = _STEP_EXAMPLES,
    loaded: bool = True,
    now: Callable[[], float] = time.perf_counter,
) -> Network:
    """Builds a candidate and times it.

    Args:
        session: of the candidate.
        class_names: of the target.
        counts: of the examples of the target that train and that validate.
        examples: uint8 `[N, H, W, 3]`, on which it is timed.
        step: of them in a training step.
        loaded: with its pretrained weights; random ones take as long.
        now: reads the clock.
    """
    begun = now()
    classifier = session.pretrained(len(class_names), None if loaded else "random")
    Predictor(classifier.features, session.strategy, 2)(examples[:2])
    start = now() - begun
    bn = session.plan("full", session.facts(*counts, class_names, classifier, loaded)).bn
    seconds = pass_seconds(session, classifier, examples[:_PASS_EXAMPLES], now)
    return Network(session, classifier, seconds, step_seconds(session, classifier, examples[:step], bn, now), start)


def open_pool(network: Network, data: TrainingData) -> Pool:
    """Runs a candidate over the target once."""
    session, classifier = network.session, network.classifier
    plan = network.heading.plan("head", network.heading.facts_of(data, classifier))
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


def step_seconds(
    session: Session, classifier: Classifier, some: np.ndarray, bn: str, now: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of an example in a step that trains the whole network; the network is left as it was.

    A step takes from 4 to more than 10 times as long as a pass of the frozen network, by processor and precision.

    Args:
        session: of the network.
        classifier: the network.
        some: stored examples `[N, ...]` of the step.
        bn: what its batch normalisations do, see `Classifier.set_batchnorm`.
        now: reads the clock.
    """
    kept = classifier.state_values()
    variables = [v for group in classifier.groups(session.config.training.unfreeze) for v in group.variables]

    def gradients(inputs):
        noise = Noise(tf.zeros(2, tf.int32), tf.range(len(some)), len(some))
        with tf.GradientTape() as tape:
            outputs = tf.reduce_sum(classifier.logits(inputs, training=True, noise=noise))
        # One number of each, that none is left out as unused.
        return tf.add_n([tf.reduce_max(g) for g in tape.gradient(outputs, variables) if g is not None])

    step = tf.function(lambda inputs: session.strategy.run(gradients, args=(inputs,)), autograph=False)
    classifier.set_batchnorm(bn)
    try:
        # The first step compiles: it is not counted.
        taken = timed(
            lambda: session.strategy.experimental_local_results(step(tf.constant(some)))[0].numpy(), 1, 2, now
        )
    finally:
        classifier.set_batchnorm("frozen")
        classifier.set_state(kept)
    return min(taken) / len(some) / session.strategy.num_replicas_in_sync
