import dataclasses

import pytest

from tf_transfer.config import Training
from tf_transfer.errors import UserError
from tf_transfer.modalities import base
from tf_transfer.modalities.image import augment
from tf_transfer.phases.catalogue import TRAINED
from tf_transfer.session.plan import Facts, candidates, resolve
from tf_transfer.training import optimizers
from tf_transfer.training.schedules import SCHEDULES

IMAGES = base.find("image")
CIFAR = Facts(45_000, IMAGES, 96, ("airplane", "automobile", "bird"))
FLOWERS = Facts(3_000, IMAGES, 224, ("daisy", "rose"))
FEW = Facts(80, IMAGES, 32, tuple("0123456789"))


def plan(phase, facts=CIFAR, **training):
    return resolve(Training(**training), phase, facts)


def test_a_plan_leaves_nothing_open():
    for facts in (CIFAR, FLOWERS, FEW):
        for phase in TRAINED:
            found = plan(phase, facts)
            assert None not in dataclasses.asdict(found).values()
            augment.parse(found.augment)
            optimizers.check(found.optimizer)
            SCHEDULES.create(found.schedule)


def test_what_is_asked_for_is_done():
    asked = {
        "epochs": 3.5, "batch_size": 48, "learning_rate": 0.7, "optimizer": "adamw", "schedule": "linear",
        "warmup": 0.3, "layer_decay": 0.5, "unfreeze": "stage5", "bn": "frozen", "regularizer": "none",
        "label_smoothing": 0.1, "augment": "none", "feature_views": 0, "ema": 0.9, "patience": 3, "clip_norm": 2.0,
        "accumulate": 2, "method": "supervised",
    }  # fmt: skip
    assert dataclasses.asdict(plan("full", **asked)) == asked


def test_one_value_a_phase():
    training = {"epochs": {"head": 2.0, "full": 4.0}, "bn": {"full": "frozen"}, "schedule": {"full": "linear"}}
    assert (plan("head", **training).epochs, plan("full", **training).epochs) == (2.0, 4.0)
    assert plan("full", **training).bn == "frozen"
    # A phase that is not named decides as if nothing had been said.
    assert plan("scratch", **training) == plan("scratch")
    assert plan("head", **training).schedule == "cosine"


@pytest.mark.parametrize(
    ("phase", "facts", "policy"),
    [
        ("head", CIFAR, "frozen"),
        ("full", CIFAR, "train"),
        ("full", dataclasses.replace(CIFAR, batchnorm="frozen"), "frozen"),
        ("full", dataclasses.replace(CIFAR, batchnorm="folded"), "frozen"),
        ("scratch", FEW, "train"),  # random weights have no statistics worth keeping
        ("source", dataclasses.replace(FEW, batchnorm="folded"), "train"),
    ],
)
def test_batchnorm_policy(phase, facts, policy):
    assert plan(phase, facts).bn == policy


@pytest.mark.parametrize(
    ("phase", "facts", "text"),
    [
        ("head", CIFAR, "flip"),
        ("head", FEW, "none"),  # digits do not survive a mirror
        ("full", CIFAR, "flip,crop(0.125)"),
        ("full", FLOWERS, "flip,crop(0.125)"),
        ("full", FEW, "crop(0.0625)"),
        ("scratch", CIFAR, "flip,crop(0.125)"),
    ],
)
def test_augmentation_by_class_names(phase, facts, text):
    assert plan(phase, facts).augment == text


def test_the_head_trains_on_features_computed_once():
    assert plan("head").feature_views == 2
    assert plan("head", FEW).feature_views == 1
    assert plan("head", augment="none").feature_views == 1
    assert plan("head", bn="train").feature_views == 0
    assert plan("head", bn="train", feature_views=2).feature_views == 0  # there is no frozen backbone
    assert plan("head", feature_views=0).feature_views == 0
    for phase in ("full", "scratch", "source"):
        assert plan(phase, feature_views=2).feature_views == 0


def test_a_head_on_features_is_solved_unless_an_option_of_steps_is_given():
    held = dataclasses.replace(CIFAR, validation=5000)
    for facts, regularizer in ((CIFAR, "l2(0.0011)"), (held, "l2path(0.022, 2.2e-06, 9)")):
        found = plan("head", facts)
        assert (found.optimizer, found.regularizer) == ("lbfgs", regularizer)
        assert (found.epochs, found.learning_rate) == (0, 0)
    asked = {"epochs": 3.0, "learning_rate": 0.1, "schedule": "step", "patience": 2, "ema": 0.9, "clip_norm": 1.0}
    for name, value in [*asked.items(), ("feature_views", 0), ("bn", "train"), ("optimizer", "sgd")]:
        found = plan("head", held, **{name: value})
        assert found.optimizer == "sgd" and found.epochs > 0 and "path" not in found.regularizer
    assert plan("head", dataclasses.replace(held, dropout=0.2)).optimizer == "sgd"
    assert plan("full", held).optimizer == "sgd"
    assert plan("head", held, optimizer="lbfgs(iterations=7)", epochs=3.0).epochs == 0
    with pytest.raises(
        UserError, match=r"--optimizer=lbfgs solves a head.* --phase=full takes sgd or adamw\. For the head alone"
    ):
        plan("full", optimizer="lbfgs")
    with pytest.raises(UserError, match=r"--phase=head takes sgd or adamw unless --feature_views"):
        plan("head", optimizer="lbfgs", feature_views=0)
    with pytest.raises(UserError, match="--regularizer=l2path needs --optimizer=lbfgs; --phase=full here runs sgd"):
        plan("full", regularizer="l2path(steps=3)")


@pytest.mark.parametrize(
    ("phase", "facts", "size"),
    [
        ("head", CIFAR, 256),
        ("full", CIFAR, 128),
        ("full", FLOWERS, 64),
        ("full", dataclasses.replace(CIFAR, examples=1000), 64),  # the largest power of two up to 1000 / 8 = 125
        ("full", dataclasses.replace(CIFAR, examples=1024), 128),
        ("full", FEW, 16),
        ("head", dataclasses.replace(FEW, examples=2), 16),
    ],
)
def test_batch_size_is_an_eighth_of_the_data_at_most(phase, facts, size):
    assert plan(phase, facts).batch_size == size


@pytest.mark.parametrize(
    ("phase", "facts", "epochs"),
    [
        ("full", CIFAR, 8),
        ("scratch", CIFAR, 20),
        ("source", CIFAR, 8),
        ("full", FEW, 60),  # 300 steps of 16 are 60 passes over 80
        ("scratch", FEW, 120),
        ("full", dataclasses.replace(FEW, examples=10), 200),  # never more
        ("full", dataclasses.replace(FEW, examples=1), 200),
    ],
)
def test_small_data_gets_enough_steps(phase, facts, epochs):
    assert plan(phase, facts).epochs == epochs


def test_the_length_follows_a_batch_size_that_was_asked_for():
    assert plan("full", FEW, batch_size=8).epochs == 30


@pytest.mark.parametrize(("epochs", "patience"), [(8.0, 4), (9.0, 5), (0.5, 1)])
def test_what_can_fall_back_waits_half_its_epochs_for_a_better_validation(epochs, patience):
    held = dataclasses.replace(CIFAR, validation=100)
    assert plan("full", held, epochs=epochs).patience == patience
    assert plan("head", held, feature_views=0, epochs=epochs).patience == patience
    # The controls are trained to the end, and so is what nothing validates.
    assert {plan(phase, held).patience for phase in ("source", "scratch")} == {0}
    assert plan("full", CIFAR).patience == 0
    assert plan("full", held, patience=0).patience == 0


SOME = Facts(1000, IMAGES, 96, ("one", "two"), validation=100)


def chosen(facts=SOME, phase="full", **training):
    given = Training(**training)
    return candidates(given, phase, facts, resolve(given, phase, facts))


def test_validation_chooses_between_trained_and_frozen_statistics_in_the_time_of_one():
    trained, frozen = chosen()
    assert (trained.bn, frozen.bn) == ("train", "frozen")
    assert frozen.learning_rate == pytest.approx(trained.learning_rate / 5)
    alone = plan("full", SOME)
    assert trained.learning_rate == alone.learning_rate and alone.epochs == 19
    # The loser stops after a fifth of its epochs.
    assert trained.epochs == frozen.epochs == 16 and round(19 / 1.2) == 16
    assert trained == plan("full", SOME, epochs=16.0)
    # What was asked for is trained, and the loser's part comes on top.
    assert [c.epochs for c in chosen(epochs=12.0)] == [12, 12]


@pytest.mark.parametrize(
    ("facts", "phase", "training"),
    [
        ({}, "head", {}),
        ({}, "scratch", {}),
        ({}, "full", {"bn": {"full": "train"}}),
        ({}, "full", {"bn": {"full": "frozen"}}),
        ({}, "full", {"learning_rate": {"full": 0.01}}),  # each policy has a rate of its own
        ({}, "full", {"epochs": 3.0}),  # too short to tell
        ({"batchnorm": "none"}, "full", {}),
        ({"batchnorm": "folded"}, "full", {}),
        ({"batchnorm": "frozen"}, "full", {}),
        ({"pretrained": False}, "full", {}),
        ({"examples": 2001}, "full", {}),
        ({"validation": 0, "examples": 1001}, "full", {}),
    ],
)
def test_where_nothing_is_in_doubt_the_rules_decide(facts, phase, training):
    facts = dataclasses.replace(SOME, **facts)
    assert chosen(facts, phase, **training) == (plan(phase, facts, **training),)


def test_a_value_for_another_phase_leaves_the_choice_open():
    assert len(chosen(bn={"head": "train"}, learning_rate={"scratch": 0.1})) == 2


def test_few_examples_that_nothing_validates_keep_their_statistics():
    (only,) = chosen(dataclasses.replace(SOME, validation=0))
    assert (only.bn, only.epochs) == ("frozen", 19)
    assert only.learning_rate == pytest.approx(plan("full", SOME).learning_rate / 5)


def test_rates_are_small_where_statistics_stay():
    frozen, trained = plan("full", bn="frozen"), plan("full", bn="train")
    assert frozen.learning_rate == pytest.approx(0.002) and trained.learning_rate == pytest.approx(0.03)
    without = dataclasses.replace(CIFAR, batchnorm="none")
    assert plan("full", without, bn="train").learning_rate == frozen.learning_rate
    for phase in TRAINED:
        adamw, sgd = (plan(phase, optimizer=optimizer).learning_rate for optimizer in ("adamw(0.1)", "sgd"))
        assert adamw < sgd


def test_rates_grow_with_the_root_of_the_batch_size():
    for phase in ("full", "scratch", "source"):
        small, large = (plan(phase, batch_size=size).learning_rate for size in (32, 128))
        assert large == pytest.approx(2 * small)


@pytest.mark.parametrize(
    ("options", "average"),
    [
        ({"epochs": 16.0, "batch_size": 16}, 1 - 20 / 8000),
        ({"epochs": 0.1, "batch_size": 16}, 0.9),  # over ten steps at least
        ({"epochs": 100.0, "batch_size": 16}, 0.999),  # and a thousand at most
    ],
)
def test_full_averages_its_weights_over_a_twentieth_of_the_steps(options, average):
    facts = dataclasses.replace(CIFAR, examples=8000)
    assert plan("full", facts, **options).ema == pytest.approx(average, abs=1e-4)
    assert {plan(phase, facts, **options).ema for phase in ("head", "scratch", "source")} == {0.0}


def test_only_a_head_on_features_needs_no_warmup_and_no_clipping():
    assert (plan("head").warmup, plan("head").clip_norm) == (0.0, 0.0)
    for found in (plan("full"), plan("head", feature_views=0)):
        assert found.warmup > 0 and found.clip_norm > 0
