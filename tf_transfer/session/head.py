"""Trains a head on features that the frozen backbone computes once, instead of in every epoch."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tf_transfer.config import Training
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.evaluation import classification
from tf_transfer.features import FEATURES_VERSION, extract, solver
from tf_transfer.machine import devices
from tf_transfer.machine.strategy import from_chief
from tf_transfer.models import classifier, weights
from tf_transfer.models.inference import FORWARD, Predictor
from tf_transfer.session.session import Session
from tf_transfer.training import optimizers
from tf_transfer.training.regularizers import REGULARIZERS


def features(
    session: Session, model: classifier.Classifier, data: TrainingData, plan: Training
) -> tuple[Split, Split | None]:
    """Returns the features of the training examples, in `plan.feature_views` views, and of the validation examples."""
    size = session.rows_at_once(2 * plan.batch_size)
    facts = {
        "backbone": session.config.model.backbone,
        "network": _network_digest(model.backbone),
        "weights": weights.digest(model.backbone),
        "input_size": session.input_size,
        "precision": session.precision,
        "xla": "auto" if model.trials else model.xla,
        "device": devices.facts(session.strategy, session.precision)["device"]["devices"][:1],
        "modality": session.modality.name,
        "mode": model.mode,
        "features_version": FEATURES_VERSION,
        "versions": [tf.__version__, keras.__version__],
    }

    rows = plan.feature_views * len(data.train) + len(data.validation or ())
    trial = model.trial(FORWARD, math.ceil(rows / size), size)
    predict = Predictor(model.features, session.strategy, size, trial)

    def made(split: Split, views: extract.Views) -> Split:
        shown = session.progress("features")
        found, here = extract.extract(
            model, split, views, session.strategy, size, shown, session.features, facts, predict
        )
        if here:
            session.console.line(f"features  {here:,} of {len(found):,} were in {session.features.folder}")
        return found

    augmentation = session.modality.augmentation(plan.augment)
    train = made(data.train, extract.Views(plan.feature_views, augmentation, session.config.run.seed))
    return train, made(data.validation, extract.Views()) if data.validation is not None else None


def solve(
    session: Session, phase: str, model: classifier.Classifier, data: TrainingData, plan: Training, log, resume
) -> dict:
    """Solves the head to its optimum, with the L2 that validation chooses; returns the facts of the end of the phase.

    Needs no checkpoints: the features are kept, and solving takes seconds.
    """
    train, validation = features(session, model, data, plan)
    scale = extract.Standardizer(train.inputs)
    told = {"log": log, "progress": session.progress(phase)}
    best = solve_on(train, validation, scale, data, plan, **told)
    # Every worker has solved the head, but processors may round differently: all take the chief's.
    model.head.set_weights([from_chief(session.strategy, w) for w in scale.fold(best.kernel, best.bias)])
    return {
        "each": _each(model, validation, data.class_offsets),
        "epochs": 0,
        "best_epoch": 0,
        "l2": best.l2,
        "validation_accuracy": best.measures.get("validation_accuracy"),
        "validation_loss": best.measures.get("validation_loss"),
    }


def _each(model: classifier.Classifier, held: Split | None, offsets: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns the results of the head on each validation example, as `Supervised.score` has them."""
    if held is None:
        return {}
    kernel, bias = model.head.get_weights()
    logits = held.inputs @ kernel + bias
    return classification.by_example(logits if offsets is None else logits + offsets, held.labels)


def solve_on(
    train: Split,
    validation: Split | None,
    scale: extract.Standardizer,
    data: TrainingData,
    plan: Training,
    **told: Callable,
) -> solver.Solution:
    """Solves a head on features.

    Args:
        train: features of all views.
        validation: features that choose the L2; None where there are none.
        scale: of the training features; the solution is for scaled features.
        data: what the features are of: its `class_weights` and `class_offsets` count.
        plan: of the head.
        **told: `log` and `progress` of `solver.solve`.
    """
    weights = data.class_weights
    problem = solver.Problem(train, scale, weights[train.labels], len(weights), plan.label_smoothing)
    penalty = REGULARIZERS.create(plan.regularizer, [], [])
    strengths = penalty.head if penalty else (0.0,)
    iterations = optimizers.SOLVERS.create(plan.optimizer).iterations
    best = solver.solve(problem, strengths, _validator(scale, validation), iterations, **told)
    if data.class_offsets is None:
        return best
    # The bias has no L2: the optimum with offsets is the optimum without them, less the offsets.
    best = dataclasses.replace(best, bias=best.bias - data.class_offsets)
    if validation is not None:
        plain = _validator(scale, validation)(best.kernel, best.bias)
        best = dataclasses.replace(best, measures=best.measures | {f"validation_{k}": v for k, v in plain.items()})
    return best


def _validator(scale: extract.Standardizer, split: Split | None):
    if split is None:
        return None

    def validate(kernel: np.ndarray, bias: np.ndarray) -> dict:
        kernel, bias = scale.fold(kernel, bias)
        return classification.measure(split.inputs @ kernel + bias, split.labels)

    return validate


def _network_digest(network: keras.Model) -> str:
    """Returns a digest of the network's structure, without its weights and without names, which Keras numbers."""
    text = network.to_json()
    for number, named in enumerate([network, *network.layers]):
        text = text.replace(json.dumps(named.name), f'"#{number}"')
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
