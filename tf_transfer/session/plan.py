"""The defaults: rules that choose the hyper-parameters a user leaves open, from the data's size and resolution.

They follow BiT's hyper-rule (Kolesnikov et al. 2019, arXiv:1912.11370, section 3.3): the length of the schedule depends
on the size of the data, augmentation on the resolution, and nothing needs a search. Pure functions.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tf_transfer import methods
from tf_transfer.config import Training, pick
from tf_transfer.errors import UserError
from tf_transfer.modalities.base import Modality, rows_at_once
from tf_transfer.phases.catalogue import PHASES, RANDOM, Phase
from tf_transfer.registry import parse_spec

# Share of its epochs after which one of two candidates is stopped, and the fewest epochs of which one is taken.
SHARE, _EPOCHS = 0.2, 4
# Examples up to which the policy for BatchNorm statistics is in doubt, and up to which frozen ones are the better guess
# where nothing validates.
_IN_DOUBT, _FEW = 2000, 1000
# Rate with frozen statistics over the rate with trained ones, where validation chooses between the two.
SLOWER = 0.2

# The method that can train a head on features computed beforehand.
SUPERVISED = "supervised"


@dataclass(frozen=True)
class Facts:
    """What the rules depend on.

    Attributes:
        examples: training examples, without validation.
        modality: of the examples.
        input_size: of the network.
        class_names: names of the classes.
        batchnorm: policy that suits the network, `train` or `frozen`, see `backbones.Backbone.bn`; `none` where it
            has no batch normalisation, `folded` where the weights have it folded in.
        validation: number of validation examples.
        dropout: before the head, in [0, 1).
        pretrained: whether the network began from weights that were trained, and not from random ones.
    """

    examples: int
    modality: Modality
    input_size: int
    class_names: tuple[str, ...]
    batchnorm: str = "train"
    validation: int = 0
    dropout: float = 0.0
    pretrained: bool = True


def resolve(training: Training, phase: str, facts: Facts) -> Training:
    """Returns the plan of a phase, with no option left open: as the user asked, else by the rules.

    Raises:
        UserError: options that do not go together, such as `lbfgs` for a phase that trains the whole network.
    """
    asked = {f.name: pick(getattr(training, f.name), phase) for f in fields(training)}
    # An option that was given only for other phases has its default here.
    given = {name: value for name, value in asked.items() if value is not None}
    plan = {f.name: f.default for f in fields(Training) if f.default is not None} | given
    row = PHASES[phase]
    plan.setdefault("method", row.method)
    plan.setdefault("bn", _bn(row, facts, plan))
    if not on_features(row, plan):
        plan["feature_views"] = 0
    for name, rule in _RULES.items():
        if name not in plan:
            plan[name] = rule(row, facts, plan)
    if plan["feature_views"]:
        # On features computed beforehand, the views are the only augmentation.
        plan["augment"] = facts.modality.augmentation(plan["augment"]).shown(plan["feature_views"])
    if solved(plan["optimizer"]):
        if not plan["feature_views"]:
            raise UserError(
                f"--optimizer=lbfgs solves a head on features computed beforehand; --phase={phase} takes sgd or adamw"
                + (" unless --feature_views and --bn leave the backbone frozen." if row.head_only else ".")
                + " For the head alone: --optimizer=head:lbfgs."
            )
        if facts.dropout:
            raise UserError("--optimizer=lbfgs knows no --dropout: leave one of the two out, or take sgd.")
        plan |= dict.fromkeys(OF_STEPS, 0) | {"schedule": "constant"}
        if _is_path(plan["regularizer"]) and not facts.validation:
            raise UserError(
                f"--regularizer=l2path chooses on validation {facts.modality.many}, and there are none: give l2(0.01)."
            )
    elif _is_path(plan["regularizer"]):
        raise UserError(
            f"--regularizer=l2path needs --optimizer=lbfgs; --phase={phase} here runs {plan['optimizer']}. "
            "For the head alone: --regularizer=head:l2path."
        )
    return Training(**plan)


def candidates(training: Training, phase: str, facts: Facts, plan: Training) -> tuple[Training, ...]:
    """Returns the plans between which validation chooses, see `session.race`; one plan where nothing is to be chosen.

    Neither policy for the BatchNorm statistics of a pretrained network is right on all small data: trained ones follow
    another domain, frozen ones keep what few examples would lose. Where many examples train, trained ones are better.

    Together they train as long as one by the rules: the epochs of the loser are taken off, unless epochs were given.

    Args:
        training: the options as given.
        phase: the phase.
        facts: what the rules depend on.
        plan: what `resolve` made of them.
    """
    if not _in_doubt(training, phase, facts, plan):
        return (plan,)
    frozen = _frozen(training, phase, facts, plan.learning_rate)
    if not facts.validation:
        return (frozen if facts.examples <= _FEW else plan,)
    if pick(training.epochs, phase) is None:
        shorter = dataclasses.replace(training, epochs=float(max(1, round(plan.epochs / (1 + SHARE)))))
        plan, frozen = resolve(shorter, phase, facts), _frozen(shorter, phase, facts, plan.learning_rate)
    return (plan, frozen) if plan.epochs >= _EPOCHS else (plan,)


def _in_doubt(training: Training, phase: str, facts: Facts, plan: Training) -> bool:
    """Says whether the policy for the BatchNorm statistics is open; each has a rate of its own."""
    given = [pick(value, phase) for value in (training.bn, training.learning_rate)]
    tunes = PHASES[phase].begins != RANDOM and not PHASES[phase].head_only and plan.method == SUPERVISED
    statistics = facts.pretrained and facts.batchnorm == "train"
    return given == [None, None] and tunes and statistics and facts.examples <= _IN_DOUBT


def _frozen(training: Training, phase: str, facts: Facts, rate: float) -> Training:
    return resolve(dataclasses.replace(training, bn="frozen", learning_rate=SLOWER * rate), phase, facts)


def check(training: Training, phase: str, modality: Modality) -> None:
    """Refuses options that do not go together in a phase, before any data is read; see `resolve`."""
    resolve(training, phase, Facts(1000, modality, 32, ("one", "two"), validation=100))


def _is_path(regularizer: str) -> bool:
    return parse_spec(regularizer).name == "l2path"


def solved(optimizer: str) -> bool:
    """Says whether the optimizer solves the head on all examples at once, without steps and rates."""
    return parse_spec(optimizer).name == "lbfgs"


def on_features(row: Phase, plan: Mapping[str, Any]) -> bool:
    """Says whether a phase can train on features computed beforehand: a supervised head on a frozen backbone."""
    return row.head_only and plan["bn"] == "frozen" and methods.says(plan["method"], "of_features")


def _bn(row: Phase, facts: Facts, plan: dict) -> str:
    if row.head_only:
        return "frozen"
    return "frozen" if row.begins != RANDOM and facts.batchnorm != "train" else "train"


def _augment(row: Phase, facts: Facts, plan: dict) -> str:
    gentle = row.head_only and plan.get("feature_views", 1) <= 2
    return facts.modality.default_augmentation(facts.class_names, gentle)


def _feature_views(row: Phase, facts: Facts, plan: dict) -> int:
    return 2 if facts.modality.augmentation(plan["augment"]).mirror else 1


def _optimizer(row: Phase, facts: Facts, plan: dict) -> str:
    """Chooses to solve a head on features, unless an option was given that only training in steps has."""
    # Their rules run later: a value that is here already was asked for, or is the default in `config.Training`.
    asked = [name for name in OF_STEPS if name != "schedule" and plan.get(name)] or plan["schedule"] != "cosine"
    return "lbfgs" if plan["feature_views"] and not asked and not facts.dropout else "sgd"


def _batch_size(row: Phase, facts: Facts, plan: dict) -> int:
    effort = facts.modality.effort(facts.input_size)
    size = 256 if plan["feature_views"] else rows_at_once(effort, 128, 64)
    while size > 16 and size * 8 > facts.examples:
        size //= 2
    return size


def _epochs(row: Phase, facts: Facts, plan: dict) -> float:
    """Chooses the passes of the phase's row, or more where the data is small, so that steps are enough."""
    enough = row.steps * plan["batch_size"] / max(1, facts.examples)
    return float(min(200, max(row.passes, round(enough))))


def _learning_rate(row: Phase, facts: Facts, plan: dict) -> float:
    adaptive = plan["optimizer"].startswith("adamw")
    # With the square root, and not the batch size itself, small batches do not train too slowly.
    scale = (plan["batch_size"] / 128) ** 0.5
    if plan["feature_views"]:
        return 0.003 if adaptive else 0.03
    if row.begins == RANDOM:
        return 0.002 * scale if adaptive else 0.1 * scale
    if row.head_only:
        return 0.001 * scale if adaptive else 0.05 * scale
    trained = plan["bn"] != "frozen" and facts.batchnorm != "none"
    if adaptive:
        return (3e-4 if trained else 5e-5) * scale
    # Frozen statistics do not follow the weights: at ten times this rate training diverges at once.
    return (0.03 if trained else 0.002) * scale


def _regularizer(row: Phase, facts: Facts, plan: dict) -> str:
    """Chooses the L2: a head on scaled features overfits soonest on few examples, so its L2 falls with their number."""
    if not plan["feature_views"]:
        return "l2(1e-4)"
    if solved(plan["optimizer"]) and facts.validation:
        # Four decades around the best strength in experiments, 50 / N; the path ends early once weaker ones are worse.
        strongest = min(1.0, 1000 / facts.examples)
        return f"l2path({strongest:.2g}, {strongest / 10000:.2g}, 9)"
    return f"l2({min(0.03, 50 / facts.examples):.2g})"


def _patience(row: Phase, facts: Facts, plan: dict) -> int:
    """Chooses half of the epochs, where a phase has something to fall back to: what it began from.

    No less: validation often falls while the rate is high and is best near the end of the schedule.
    """
    if plan["feature_views"] or row.begins == RANDOM or not facts.validation:
        return 0
    return math.ceil(plan["epochs"] / 2)


def _ema(row: Phase, facts: Facts, plan: dict) -> float:
    """Chooses the decay: a pretrained network that trains as a whole averages its weights over 1/20 of the steps."""
    if row.head_only or row.begins == RANDOM:
        return 0.0
    steps = plan["epochs"] * facts.examples / plan["batch_size"]
    return round(1.0 - 1.0 / min(1000, max(10, steps / 20)), 4)


# Options of training in steps; a solved head ignores them.
OF_STEPS = ("epochs", "learning_rate", "schedule", "warmup", "ema", "patience", "clip_norm")

_RULES: dict[str, Any] = {
    "augment": _augment,
    "feature_views": _feature_views,
    "optimizer": _optimizer,
    "batch_size": _batch_size,
    "epochs": _epochs,
    "learning_rate": _learning_rate,
    "regularizer": _regularizer,
    "ema": _ema,
    "patience": _patience,
    "warmup": lambda row, facts, plan: 0.0 if plan["feature_views"] else 0.05,
    "clip_norm": lambda row, facts, plan: 0.0 if plan["feature_views"] else 5.0,
}
