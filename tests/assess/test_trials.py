"""The folder of a trial: found again by a later version, and another one where an option decides otherwise."""

import hashlib

from tf_transfer import config
from tf_transfer.assess import trials

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
