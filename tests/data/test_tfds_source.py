import functools
import os
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_transfer.data import tfds_source
from tf_transfer.errors import UserError
from tf_transfer.modalities import base
from tf_transfer.modalities.image import preprocessing

open_tfds = functools.partial(tfds_source.open_tfds, modality=base.find("image"))

CLASSES = ("ant", "bee", "cat")
FIXED = tfds.features.Image(shape=(6, 6, 3))
LABEL = tfds.features.ClassLabel(names=CLASSES)


def pictures(count, seed, shape=(6, 6, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Prepares a TFDS data set of the given splits in its own format; returns the data directory."""
    folder = tmp_path_factory.mktemp("tfds")

    def write(name, splits, features=None, version="1.0.0", **options):
        features = tfds.features.FeaturesDict(features or {"image": FIXED, "label": LABEL})
        spec = {key: tf.TensorSpec(f.shape, f.tf_dtype) for key, f in features.items()}
        data = {
            split: tf.data.Dataset.from_generator(lambda rows=rows: iter(rows), output_signature=spec)
            for split, rows in splits.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tfds.dataset_builders.store_as_tfds_dataset(
                name, version, data_dir=folder, features=features, split_datasets=data, **options
            )
        return str(folder)

    return write


def examples(images, labels=None):
    labels = np.arange(len(images)) % 3 if labels is None else labels
    return [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]


@pytest.fixture(scope="module")
def toy(store):
    images = pictures(30, 0)
    folder = store("toy", {"train": examples(images), "test": examples(pictures(9, 1))})
    # TFDS shuffles what it stores: its own reader says what the order is.
    stored = tfds.builder_from_directory(f"{folder}/toy/1.0.0").as_dataset(split="train", batch_size=-1)
    return folder, stored["image"].numpy(), stored["label"].numpy()


def test_a_prepared_data_set(toy):
    folder, images, labels = toy
    source = open_tfds("toy", data_dir=folder)
    assert source.class_names == CLASSES and source.splits == ("train", "test") and source.notes == {}
    np.testing.assert_array_equal(source.labels("train"), labels)
    assert source.labels("train").dtype == np.int32
    train = source.load("train")
    np.testing.assert_array_equal(train.inputs, images)
    np.testing.assert_array_equal(train.labels, labels)
    assert train.names[12] == "toy/train#12" and len(source.load("test")) == 9


@pytest.mark.parametrize("limit", [tfds_source.MEMORY_LIMIT, 0], ids=["whole split kept", "decoded anew"])
@pytest.mark.parametrize("indices", [[5, 2, 5], list(range(3, 29)), list(range(29, -1, -1))])
def test_examples_at_indices(toy, monkeypatch, indices, limit):
    monkeypatch.setattr(tfds_source, "MEMORY_LIMIT", limit)
    folder, images, labels = toy
    source = open_tfds("toy", data_dir=folder)
    for _ in range(2):
        part = source.load("train", np.array(indices))
        np.testing.assert_array_equal(part.inputs, images[indices])
        np.testing.assert_array_equal(part.labels, labels[indices])
        assert part.names == [f"toy/train#{i}" for i in indices]


def test_the_whole_split_is_read_once(toy, monkeypatch):
    folder, images, _ = toy
    source = open_tfds("toy", data_dir=folder)
    source.load("train", np.arange(25))
    source.labels("train")
    # Whoever reads the files again fails.
    monkeypatch.setattr(tf.data, "TFRecordDataset", None)
    np.testing.assert_array_equal(source.load("train", np.array([7])).inputs, images[[7]])
    assert not source.load("train").inputs.flags.writeable


def test_larger_pictures_are_resized_as_the_model_does(toy):
    folder, images, _ = toy
    assert open_tfds("toy", data_dir=folder).load("train", size=6).inputs.shape == (30, 6, 6, 3)
    small = open_tfds("toy", data_dir=folder).load("train", size=4)
    np.testing.assert_array_equal(small.inputs, preprocessing.resize(images, 4))


def test_sizes_that_the_description_leaves_open(store):
    open_size = {"image": tfds.features.Image(shape=(None, None, 3)), "label": LABEL}
    mixed = [pictures(1, i, (5 + i % 2, 7, 3))[0] for i in range(12)]
    folder = store("mixed", {"train": examples(mixed), "test": examples(pictures(6, 0, (5, 7, 3)))}, open_size)
    source = open_tfds("mixed", data_dir=folder)
    assert source.load("test").inputs.shape == (6, 5, 7, 3)
    with pytest.raises(UserError, match=r"differ in size, \[5, 7\] to \[6, 7\]"):
        source.load("train")
    stored = source.load("train", size=8)
    expected = {preprocessing.resize(image, 8).numpy().astype(np.uint8).tobytes() for image in mixed}
    assert stored.inputs.shape == (12, 8, 8, 3) and {image.tobytes() for image in stored.inputs} == expected


def test_grey_becomes_three_channels(store):
    images = pictures(6, 3, (4, 4, 1))
    folder = store("grey", {"train": examples(images)}, {"image": tfds.features.Image(shape=(4, 4, 1)), "label": LABEL})
    source = open_tfds("grey", data_dir=folder, test_fraction=0.5)
    inputs = np.concatenate([source.load(split).inputs for split in source.splits])
    assert inputs.shape == (6, 4, 4, 3)
    assert {image.tobytes() for image in inputs[..., :1]} == {image.tobytes() for image in images}
    assert (inputs == inputs[..., :1]).all()


@pytest.mark.parametrize(
    ("name", "splits", "origins"),
    [
        ("all", {"train": 9, "validation": 6, "test": 3}, {s: s for s in ("train", "validation", "test")}),
        ("no_test", {"train": 9, "validation": 6}, {"train": "train", "test": "validation"}),
        ("hidden_test", {"train": 9, "validation": 6, "test": -3}, {"train": "train", "test": "validation"}),
        ("train_only", {"train": 15}, {"train": "train", "test": "train"}),
    ],
)
def test_which_split_serves_as_which(store, name, splits, origins):
    """A negative size stands for a split whose labels are all -1."""
    data = {s: examples(pictures(abs(n), 5), [-1] * -n if n < 0 else None) for s, n in splits.items()}
    source = open_tfds(name, data_dir=store(name, data))
    assert {split: source.load(split).names[0].split("/")[1].split("#")[0] for split in source.splits} == origins
    if name == "train_only":
        np.testing.assert_array_equal(np.bincount(source.labels("test")), [1, 1, 1])
        both = [source.load(split) for split in ("train", "test")]
        assert sorted([*both[0].names, *both[1].names]) == sorted(f"train_only/train#{i}" for i in range(15))
        np.testing.assert_array_equal(both[1].labels, source.labels("test"))
    assert ("splits" in source.notes) == (name != "all")


def test_features_are_found_or_listed(store):
    two = {"image": FIXED, "coarse": tfds.features.ClassLabel(num_classes=2), "fine": LABEL}
    rows = [{"image": image, "coarse": i % 2, "fine": i % 3} for i, image in enumerate(pictures(12, 0))]
    message = r"tfds\(name=two\): label=... expects one ClassLabel, Text or .* of: coarse \(ClassLabel\), fine \(Cl"
    folder = store("two", {"train": rows}, two)
    with pytest.raises(UserError, match=message):
        open_tfds("two", data_dir=folder)
    assert open_tfds("two", label="fine", data_dir=folder).class_names == CLASSES
    assert open_tfds("two", "coarse", data_dir=folder).class_names == ("0", "1")
    with pytest.raises(UserError, match=r"label=... expects 'image' to be one ClassLabel, Text"):
        open_tfds("two", label="image", data_dir=folder)
    real = {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.float32), "label": LABEL}
    store("floats", {"train": examples(pictures(2, 0, (4, 4, 1)).astype(np.float32))}, real)
    with pytest.raises(UserError, match=r"expected uint8 pictures, 'image' is float32"):
        open_tfds("floats", data_dir=folder)


def test_no_training_split(store):
    folder = store("only_test", {"test": examples(pictures(6, 0))})
    with pytest.raises(UserError, match="expected a labelled split train, found test"):
        open_tfds("only_test", data_dir=folder)


def test_damaged_files(store):
    folder = store("damaged", {"train": examples(pictures(30, 0)), "test": examples(pictures(6, 1))})
    directory = f"{folder}/damaged/1.0.0"
    records = next(os.path.join(directory, name) for name in os.listdir(directory) if "train.tfrecord" in name)
    with open(records, "rb") as file:
        whole = file.read()
    length = 12 + int.from_bytes(whole[:8], "little") + 4
    for content, message in [
        (whole[: length * 5 + 20], "The split train in .* is damaged, prepare it again"),
        (whole[:length], "damaged.* 1 records, expected 30"),
    ]:
        with open(records, "wb") as file:
            file.write(content)
        with pytest.raises(UserError, match=message) as error:
            open_tfds("damaged", data_dir=folder).labels("train")
        assert "\n" not in str(error.value) and "function_node" not in str(error.value)
    with pytest.raises(UserError, match="damaged"):
        open_tfds("damaged", data_dir=folder).load("train")
    with open(os.path.join(directory, "dataset_info.json"), "w") as file:
        file.write("{")
    with pytest.raises(UserError, match=r"damaged/1.0.0 is damaged, prepare it again"):
        open_tfds("damaged", data_dir=folder)


@pytest.mark.parametrize(("name", "counts"), [("cifar10", [5000] * 10), ("mnist", None)])
def test_real_data(shared_data, name, counts):
    source = open_tfds(name, data_dir=str(shared_data / "tfds"))
    assert len(source.class_names) == 10 and source.splits == ("train", "test")
    if counts:
        assert np.bincount(source.labels("train")).tolist() == counts
        assert source.class_names[:2] == ("airplane", "automobile")
    part = source.load("test", np.arange(0, 100, 3), size=96)
    theirs = tfds.load(name, split="test[:100]", data_dir=shared_data / "tfds", download=False)
    rows = [row for i, row in enumerate(theirs.as_numpy_iterator()) if i % 3 == 0]
    np.testing.assert_array_equal(part.labels, [row["label"] for row in rows])
    np.testing.assert_array_equal(part.inputs, [np.repeat(r["image"], 3 // r["image"].shape[-1], -1) for r in rows])


NUMBER, TEXT = tfds.features.Scalar(dtype=np.int32), tfds.features.Text()


@pytest.mark.parametrize(
    ("name", "feature", "values", "names"),
    [
        ("numbers", NUMBER, [10, -1, 9], ("-1", "9", "10")),
        ("texts", TEXT, ["Rösen", "daisy", "a b"], ("Rösen", "a b", "daisy")),
    ],
)
def test_labels_of_other_features(store, name, feature, values, names):
    images = pictures(30, 0)
    rows = examples(images, [values[i % 3] for i in range(30)])
    parts = {"train": rows[:21], "test": rows[21:]}
    source = open_tfds(name, data_dir=store(name, parts, {"image": FIXED, "label": feature}))
    assert set(source.class_names) == set(names) and source.splits == ("train", "test")
    if name == "numbers":
        assert source.class_names == names
    truth = {image.tobytes(): str(values[i % 3]) for i, image in enumerate(images)}
    for split in source.splits:
        part = source.load(split)
        assert part.labels.dtype == np.int32
        assert [source.class_names[label] for label in part.labels] == [truth[i.tobytes()] for i in part.inputs]


def test_a_class_label_goes_before_other_features(store):
    both = {"image": FIXED, "label": LABEL, "id": NUMBER, "note": TEXT}
    rows = [{"image": p, "label": i % 3, "id": i, "note": f"n{i}"} for i, p in enumerate(pictures(12, 0))]
    folder = store("both", {"train": rows}, both)
    assert open_tfds("both", data_dir=folder).class_names == CLASSES
    with pytest.raises(UserError, match=r"label=id has 12 different values in 12 examples; .* Choose another feature"):
        open_tfds("both", label="id", data_dir=folder)


def test_texts_that_are_empty_in_the_test_split_and_texts_it_alone_has(store):
    features = {"image": FIXED, "label": TEXT}
    train = examples(pictures(12, 0), ["a", "b", "c"] * 4)
    folder = store("unknown_texts", {"train": train, "test": examples(pictures(6, 1), [""] * 6)}, features)
    assert "set aside" in open_tfds("unknown_texts", data_dir=folder).notes["splits"][0]
    store("new_texts", {"train": train, "test": examples(pictures(6, 1), ["a", "z"] * 3)}, features)
    with pytest.raises(UserError, match="the class 'z' of the split test has no training example"):
        open_tfds("new_texts", data_dir=folder).labels("test")


def test_deep_pictures_are_scaled_and_said(store):
    deep = np.random.default_rng(2).integers(0, 1 << 16, (12, 4, 4, 1)).astype(np.uint16)
    features = {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16), "label": LABEL}
    source = open_tfds("deep", data_dir=store("deep", {"train": examples(deep)}, features), test_fraction=0.5)
    found = np.concatenate([source.load(split).inputs for split in source.splits])[..., 0].reshape(12, -1)
    expected = (deep / 257).reshape(12, -1)
    for row in found:
        assert np.abs(expected - row).max(1).min() <= 1
    assert source.notes["depth"] == ["The pictures are uint16, scaled from its whole range to that of uint8."]


@pytest.mark.parametrize(
    ("split", "splits", "origins"),
    [
        ("extra", {"train": "extra", "test": "test"}, {"train": 6, "extra": 9, "test": 3}),
        ("test", {"train": "test", "test": "test"}, {"test": 15}),
        ("test", {"train": "test", "test": "validation"}, {"test": 9, "validation": 3}),
    ],
)
def test_another_split_trains(store, split, splits, origins):
    name = f"of_{split}_{len(origins)}"
    folder = store(name, {s: examples(pictures(n, 5)) for s, n in origins.items()})
    source = open_tfds(name, data_dir=folder, split=split)
    assert {s: source.load(s).names[0].split("/")[1].split("#")[0] for s in source.splits} == splits
    both = [set(source.load(s).names) for s in ("train", "test")]
    assert not both[0] & both[1]
    with pytest.raises(UserError, match=r"expected a labelled split trein, found .*; say with split= which"):
        open_tfds(name, data_dir=folder, split="trein")
    with pytest.raises(UserError, match=r"expected a labelled split \['trein'\]"):
        open_tfds(name, data_dir=folder, split=["trein"])
