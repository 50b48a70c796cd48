"""Prepares a phase to train: its method, its streams, and how its network normalises."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tf_transfer import methods
from tf_transfer.config import Training
from tf_transfer.data.streams import Streams
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.features import extract
from tf_transfer.machine import xla
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases import catalogue
from tf_transfer.session import head as heads
from tf_transfer.session.session import Session
from tf_transfer.training.method import Method, Setting


class Prepared(NamedTuple):
    """A phase ready to train in steps.

    Attributes:
        method: what trains.
        streams: its streams.
        finish: to be called after training.
        set_up: to be called again where the network was prepared for another training in between.
        trial: decides whether the network is compiled by XLA; None: that is decided, or no network runs in the steps.
    """

    method: Method
    streams: Streams
    finish: Callable[[], None]
    set_up: Callable[[], None] = lambda: None
    trial: xla.Trial | None = None


def method(
    session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training, on_features: bool = False
) -> Method:
    """Makes the method that the plan names."""
    row, problem = catalogue.PHASES[phase], session.problem
    source = source_of(session, plan)
    if not row.labelled:
        held = data.validation and data.validation.unlabelled
        data = dataclasses.replace(data, train=data.train.unlabelled, validation=held)
    setting = Setting(classifier, data, plan, row, session.modality, problem, session.strategy, on_features, source)
    with session.strategy.scope():
        # Variables of its own, a head or a teacher, are mirrored too.
        return methods.create(plan.method, setting)


def source_of(session: Session, plan: Training) -> TrainingData | None:
    """Reads the source data set where the method reads it; None where it does not.

    Raises:
        UserError: the method reads it, and none is given.
    """
    if not methods.says(plan.method, "of_source"):
        return None
    if not (dataset := session.config.data.source_dataset):
        raise UserError(f"--method={one_line(plan.method)} reads a second data set: name it with --source_dataset.")
    return session.datasets.training(dataset)


def prepare(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training) -> Prepared:
    """Prepares a phase to train in steps, on features where the plan has feature views."""
    make = _on_features if plan.feature_views else in_steps
    return make(session, phase, classifier, data, plan)


def in_steps(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training) -> Prepared:
    """Prepares a phase in which the backbone runs in every step."""
    made, row = method(session, phase, classifier, data, plan), catalogue.PHASES[phase]
    streams = _streams(session, made, plan)
    partly = not row.head_only and row.begins != catalogue.RANDOM
    # XLA compiles, and differentiates, the backbone as a whole: frozen stages would cost a backward pass.
    classifier.xla = classifier.xla and not (partly and plan.unfreeze)
    following = classifier.unfrozen(plan.unfreeze) if partly else None
    set_up = functools.partial(classifier.set_batchnorm, plan.bn, following, streams.steps(plan.epochs))
    set_up()
    return Prepared(made, streams, lambda: None, set_up, _trial(session, row, classifier, plan, streams))


def _trial(
    session: Session, row: catalogue.Phase, classifier: Classifier, plan: Training, streams: Streams
) -> xla.Trial | None:
    """Returns the trial of the step; None where XLA is decided, or cannot compile the step or would slow it down."""
    partly = not row.head_only and row.begins != catalogue.RANDOM and plan.unfreeze
    across = plan.bn == "train" and session.strategy.num_replicas_in_sync > 1 and bool(classifier.batchnorms)
    if partly or (across and not row.head_only):
        return None
    trained = "frozen network" if row.head_only else f"network with BatchNorm {plan.bn}"
    return classifier.trial(f"training step of the {trained}", streams.steps(plan.epochs), streams.size)


def _on_features(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training) -> Prepared:
    """Prepares a head to train on features that the frozen backbone computes once."""
    train, validation = heads.features(session, classifier, data, plan)
    scale = extract.Standardizer(train.inputs)
    train, validation = scale(train), scale(validation) if validation is not None else None
    classifier.head.set_weights(scale.unfold(*classifier.head.get_weights()))
    data = dataclasses.replace(data, train=train, validation=validation)
    made = method(session, phase, classifier, data, plan, on_features=True)

    def finish():
        classifier.head.set_weights(scale.fold(*classifier.head.get_weights()))

    return Prepared(made, _streams(session, made, plan), finish)


def _streams(session: Session, method: Method, plan: Training) -> Streams:
    streams = Streams(method.streams(), session.config.run.seed)
    check_shares(session, plan, streams.sizes.values())
    return streams


def check_shares(session: Session, plan: Training, sizes: Iterable[int] = ()) -> None:
    """Refuses batch sizes that the replicas cannot share evenly, or with fewer examples than parts."""
    replicas = session.strategy.num_replicas_in_sync
    for size in (plan.batch_size, *sizes):
        share = size // replicas
        if size % replicas:
            near = " or ".join(f"{n * replicas}" for n in (share, share + 1) if n)
            raise UserError(f"--batch_size={size}: expected a multiple of the {replicas} replicas, such as {near}.")
    share = min((plan.batch_size, *sizes)) // replicas
    if plan.accumulate > share:
        raise UserError(
            f"--accumulate={plan.accumulate}: expected at most the {share} examples that a replica has of "
            f"--batch_size={plan.batch_size}."
        )
