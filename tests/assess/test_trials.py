"""The folder of a trial: found again by a later version, and another one where an option decides otherwise."""

import hashlib
import types

import numpy as np
import pytest

from tf_transfer import config
from tf_transfer.assess import plan, trials
from tf_transfer.data.contents import Keys
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.training.problem import CLASSIFICATION

GIVEN = {
    "dataset": "digits", "backbone": "small_resnet(width=4)", "weights": "random", "image_size": 32, "dropout": 0.1,
    "examples_per_class": 4, "validation_fraction": 0.25, "optimizer": "sgd",
}  # fmt: skip
# As version 0.1.0 wrote these options, its precision and its split, and the digest that it computed with "pool".
WRITTEN = (
    "(Training(epochs={'full': 2.0, 'scratch': 2.0}, batch_size=None, accumulate=1, learning_rate=None, "
    "optimizer='sgd', schedule='cosine', warmup=None, layer_decay=1.0, unfreeze='', bn=None, regularizer=None, "
    "label_smoothing=0.0, augment=None, feature_views=None, ema=None, patience=0, clip_norm=None), "
    "Model(backbone='small_resnet(width=4)', weights='random', image_size=32, dropout=0.1), "
    "Data(dataset='digits', source_dataset=None, data_dir=None, validation_fraction=0.25, examples_per_class=4, "
    "class_weights='none', max_unreadable=0), 'float32', '0123abcd')"
)
DIGEST = "f96f24d11bd2"


def digest(**changed):
    # Trials never stop early, as none did.
    given = config.from_values(GIVEN | {"epochs": {"full": 2.0, "scratch": 2.0}, "patience": 0} | changed)
    return trials.digest_of((given.training, given.model, given.data), "float32", "0123abcd", "pool")


def test_the_folder_of_a_trial_of_version_0_1_0_is_found():
    assert hashlib.sha256(f"{WRITTEN}pool".encode()).hexdigest()[:12] == DIGEST
    assert digest() == DIGEST


def test_each_option_that_decides_a_training_changes_the_folder():
    others = {
        "method": "supervised", "batch_size": 8, "image_size": 16, "dropout": 0.2, "backbone": "small_resnet",
        "examples_per_class": 5, "clip_norm": 0.0,
    }  # fmt: skip
    found = [digest(**{name: value}) for name, value in others.items()]
    assert len({DIGEST, *found}) == len(others) + 1, found


def test_a_trial_on_few_labels_divides_no_group():
    names = [f"{i % 2}-{i // 6}" for i in range(120)]
    groups = [hashlib.md5(name[2:].encode()).digest() for name in names]
    keys = Keys([hashlib.md5(b"%d" % i).digest() for i in range(120)], groups)
    split = Split(np.zeros((120, 1, 1, 3), np.uint8), np.arange(120) % 2, names, keys)
    data = TrainingData(split, None, ("a", "b"), np.ones(2), {"split_digest": "x"})
    session = types.SimpleNamespace(problem=CLASSIFICATION, config=config.Config())
    made = trials.Trials(session, data, {})
    for seed in range(5):
        part = made.subset(plan.Trial("head", 20, seed))
        sides = [{name[2:] for name in side.names} for side in (part.train, part.validation)]
        assert not sides[0] & sides[1] and len(part.train) + len(part.validation) == 40


@pytest.mark.parametrize(
    ("done", "trial", "policy"),
    [
        (None, plan.Trial("full"), "train"),
        # It was not chosen: the run was told, or an earlier version trained it.
        ({"plan": {"bn": "frozen"}}, plan.Trial("full"), "train"),
        ({"plan": {"bn": "frozen"}, "race": {}}, plan.Trial("full"), "train"),
        ({"plan": {"bn": "train"}, "race": {"chosen": "train"}}, plan.Trial("full"), "train"),
        ({"plan": {"bn": "frozen"}, "race": {"chosen": "frozen"}}, plan.Trial("full"), "frozen"),
        ({"plan": {"bn": "frozen"}, "race": {"chosen": "frozen"}}, plan.Trial("random head", labels=5), "frozen"),
        # From random weights, and on another network, they are trained.
        ({"plan": {"bn": "frozen"}, "race": {"chosen": "frozen"}}, plan.Trial("scratch"), "train"),
        ({"plan": {"bn": "frozen"}, "race": {"chosen": "frozen"}}, plan.Trial("full", backbone="other"), "train"),
    ],
)
def test_trials_normalise_as_validation_chose_in_full(done, trial, policy):
    run = types.SimpleNamespace(done={"full": done}.get)
    assert trials.Trials(types.SimpleNamespace(run=run), None, {}).statistics(trial) == policy
