import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.data.batches import DRAWS
from tf_transfer.errors import UserError
from tf_transfer.modalities.image import augment
from tf_transfer.training import problem

RANDOM = np.random.default_rng(0)
COUNT, HEIGHT, WIDTH, CLASSES = 32, 12, 16, 5


def make_batch(seed=0, **columns):
    random = np.random.default_rng(seed)
    batch = {
        "inputs": random.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), np.uint8),
        "inputs2": random.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), np.uint8),
        "label": random.integers(0, CLASSES, COUNT, np.int32),
        "label2": random.integers(0, CLASSES, COUNT, np.int32),
        "mix": random.random(COUNT, np.float32),
        "uniform": random.random((COUNT, DRAWS), np.float32),
    }
    for column, value in columns.items():
        batch["uniform"][:, int(column.removeprefix("column"))] = value
    return batch


def run(text, batch, smoothing=0.0):
    tensors = {k: tf.constant(v) for k, v in batch.items()}
    images, targets = augment.parse(text)(tensors, lambda labels: problem.one_hot(labels, CLASSES, smoothing))
    return images.numpy(), targets.numpy()


def test_none_changes_nothing():
    batch = make_batch()
    for text in ("none", ""):
        images, targets = run(text, batch)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, batch["inputs"])
        np.testing.assert_array_equal(targets, np.eye(CLASSES)[batch["label"]])


def test_flip_mirrors_where_the_draw_is_below_a_half():
    batch = make_batch()
    images, _ = run("flip", batch)
    flipped = batch["uniform"][:, 0] < 0.5
    assert images.dtype == np.uint8 and 0 < flipped.sum() < COUNT
    for image, original, mirrored in zip(images, batch["inputs"], flipped, strict=True):
        np.testing.assert_array_equal(image, original[:, ::-1] if mirrored else original)


@pytest.mark.parametrize("pad", [0.0625, 0.125, 0.5])
def test_crop_is_reflect_padding_and_a_window(pad):
    batch = make_batch()
    images, _ = run(f"crop({pad})", batch)
    rows, columns = round(pad * HEIGHT), round(pad * WIDTH)
    assert images.dtype == np.uint8
    for image, original, draw in zip(images, batch["inputs"], batch["uniform"], strict=True):
        padded = np.pad(original, ((rows, rows), (columns, columns), (0, 0)), "reflect")
        top, left = int(draw[1] * (2 * rows + 1)), int(draw[2] * (2 * columns + 1))
        np.testing.assert_array_equal(image, padded[top : top + HEIGHT, left : left + WIDTH])


def test_crop_reaches_every_offset_alike():
    pad, side = 0.25, 8
    ramp = np.broadcast_to(np.arange(side, dtype=np.uint8)[None, :, None, None], (6000, side, side, 3))
    uniform = RANDOM.random((6000, DRAWS), np.float32)
    uniform[:2, 1] = 0, 1 - 2**-24  # the ends of what a draw can be
    shifted = augment.crop(pad)(tf.constant(ramp), tf.constant(uniform))
    offsets = shifted[:, 3, 0, 0].numpy().astype(int) - 3
    np.testing.assert_array_equal(offsets[:2], [-2, 2])
    counts = np.bincount(offsets + 2, minlength=5)
    assert len(counts) == 5
    np.testing.assert_allclose(counts / 6000, 0.2, atol=4 * (0.2 * 0.8 / 6000) ** 0.5)


def bilinear(image, row, column):
    """The value of a picture between its pixels."""
    row0, column0 = int(row), int(column)
    row1, column1 = min(row0 + 1, image.shape[0] - 1), min(column0 + 1, image.shape[1] - 1)
    y, x = row - row0, column - column0
    above = image[row0, column0] * (1 - x) + image[row0, column1] * x
    below = image[row1, column0] * (1 - x) + image[row1, column1] * x
    return above * (1 - y) + below * y


def test_resized_crop_samples_the_rectangle():
    smallest, ratio = 0.35, 4 / 3
    batch = make_batch()
    images, _ = run(f"resized_crop({smallest})", batch)
    assert images.dtype == np.float32 and images.shape == (COUNT, HEIGHT, WIDTH, 3)
    for image, original, draw in zip(images[:8], batch["inputs"], batch["uniform"], strict=False):
        area = smallest + (1 - smallest) * draw[3]
        aspect = ratio ** (2 * draw[4] - 1)
        height, width = min(np.sqrt(area / aspect), 1), min(np.sqrt(area * aspect), 1)
        top, left = draw[1] * (1 - height), draw[2] * (1 - width)
        for i, j in ((0, 0), (HEIGHT - 1, WIDTH - 1), (5, 7), (11, 0)):
            row = (top + height * i / (HEIGHT - 1)) * (HEIGHT - 1)
            column = (left + width * j / (WIDTH - 1)) * (WIDTH - 1)
            expected = bilinear(original.astype(float), row - 1e-9, column - 1e-9)
            np.testing.assert_allclose(image[i, j], expected, atol=0.05)


def test_resized_crop_of_everything_is_the_picture():
    batch = make_batch()
    images, _ = run("resized_crop(1.0, ratio=1)", batch)
    np.testing.assert_allclose(images, batch["inputs"], atol=1e-3)


def test_mixup_blends_pictures_and_labels():
    batch = make_batch()
    images, targets = run("mixup(0.2)", batch, smoothing=0.1)
    for i, share in enumerate(batch["mix"]):
        np.testing.assert_allclose(
            images[i], share * batch["inputs"][i].astype(float) + (1 - share) * batch["inputs2"][i], atol=1e-3
        )
        first, second = (np.eye(CLASSES)[batch[k][i]] * 0.9 + 0.1 / CLASSES for k in ("label", "label2"))
        np.testing.assert_allclose(targets[i], share * first + (1 - share) * second, atol=1e-6)


def test_cutmix_pastes_a_rectangle_and_labels_by_its_area():
    batch = make_batch()
    images, targets = run("cutmix", batch)
    for i, share in enumerate(batch["mix"]):
        half = np.sqrt(1 - share) / 2
        row, column = batch["uniform"][i, 5], batch["uniform"][i, 6]
        inside = np.array([[abs((y + 0.5) / HEIGHT - row) < half and abs((x + 0.5) / WIDTH - column) < half
                            for x in range(WIDTH)] for y in range(HEIGHT)])  # fmt: skip
        np.testing.assert_array_equal(images[i], np.where(inside[..., None], batch["inputs2"][i], batch["inputs"][i]))
        first, second = (np.eye(CLASSES)[batch[k][i]] for k in ("label", "label2"))
        pasted = inside.mean()
        np.testing.assert_allclose(targets[i], (1 - pasted) * first + pasted * second, atol=1e-6)


def test_both_pictures_of_a_mix_go_through_the_same_operations():
    batch = make_batch()
    batch["inputs2"], batch["label2"] = batch["inputs"], batch["label"]
    alone, targets = run("flip,crop(0.125)", batch)
    mixed, mixed_targets = run("flip,crop(0.125),mixup(0.2)", batch)
    np.testing.assert_allclose(mixed, alone, atol=1e-3)
    np.testing.assert_allclose(mixed_targets, targets, atol=1e-6)


EVERYTHING = ["flip", "crop(0.125)", "resized_crop(0.35)", "flip,crop,mixup(0.2)", "flip,resized_crop,cutmix"]


@pytest.mark.parametrize("text", EVERYTHING)
def test_an_example_is_augmented_alike_wherever_it_stands(text):
    """Eagerly, in a graph, in another order and in smaller batches: a pure function of its numbers."""
    batch = make_batch()
    images, targets = run(text, batch)
    part = RANDOM.permutation(COUNT)[:7]
    again, again_targets = run(text, {k: v[part] for k, v in batch.items()})
    # Vectorised kernels round the last lanes of a batch in their own way.
    np.testing.assert_allclose(again, images[part], atol=1e-3)
    np.testing.assert_allclose(again_targets, targets[part], atol=1e-6)
    operation = augment.parse(text)
    graph = tf.function(lambda b: operation(b, lambda labels: problem.one_hot(labels, CLASSES)), autograph=False)
    np.testing.assert_allclose(graph({k: tf.constant(v) for k, v in batch.items()})[0], images, atol=1e-3)


@pytest.mark.parametrize("text", EVERYTHING)
def test_other_numbers_give_other_pictures(text):
    batch = make_batch()
    other = batch | {"uniform": make_batch(1)["uniform"]}
    assert not np.array_equal(run(text, other)[0], run(text, batch)[0])


def test_every_registered_operation_keeps_shape_and_range():
    for name in augment.AUGMENTATIONS.names():
        images, targets = run(name, make_batch())
        assert images.shape == (COUNT, HEIGHT, WIDTH, 3)
        assert images.min() >= 0 and images.max() <= 255
        np.testing.assert_allclose(targets.sum(1), 1)
    for name in augment.MIXERS.names():
        images, targets = run(name, make_batch())
        assert images.shape == (COUNT, HEIGHT, WIDTH, 3) and images.dtype == np.float32
        assert images.min() >= 0 and images.max() <= 255
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_hot_spreads_the_smoothing_over_all_classes(smoothing):
    targets = problem.one_hot(tf.constant([2, 0]), 4, smoothing)
    spread = smoothing / 4
    np.testing.assert_allclose(
        targets, [[spread, spread, 1 - 3 * spread, spread], [1 - 3 * spread, spread, spread, spread]], atol=1e-7
    )


@pytest.mark.parametrize(("text", "alpha"), [("flip", 0.0), ("mixup", 0.2), ("mixup(0.7)", 0.7), ("flip,cutmix", 1.0)])
def test_mixing_law_is_known_to_the_batches(text, alpha):
    assert augment.parse(text).mix_alpha == alpha


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", r"Unknown --augment operation 'flop'. Did you mean 'flip'\? Known: flip, .*resized_crop"),
        ("flip,mixip(0.2)", r"Did you mean 'mixup'\? Known: mixup, .*none"),
        ("mixup,cutmix", "one of mixup and cutmix, not both"),
        ("crop(0.6)", r"--augment: crop\(pad\) must lie in \[0.0, 0.5\], got 0.6"),
        ("crop(-0.1)", r"crop\(pad\) must lie in"),
        ("crop(wide)", r"augmentation 'crop': expected a number for pad, got 'wide'"),
        ("crop(nan)", r"expected a number for pad"),
        ("crop(1e999)", r"crop\(pad\) must lie in"),
        ("crop(a=1)", r"augmentation 'crop'.* It takes: pad"),
        ("flip(0.5)", r"augmentation 'flip'.* It takes: nothing"),
        ("resized_crop(0)", r"resized_crop\(smallest\) must lie in \[0.01, 1.0\]"),
        ("resized_crop(0.5, ratio=0)", r"resized_crop\(ratio\) must lie in"),
        ("resized_crop(0.5, ratio=wide)", r"expected a number for ratio"),
        ("mixup(0)", r"mixup\(alpha\) must lie in"),
        ("cutmix(100)", r"cutmix\(alpha\) must lie in"),
    ],
)
def test_bad_augmentations_are_told_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as e:
        augment.parse(text)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "views", "shown"),
    [
        ("flip,crop(0.125),mixup(0.2)", 1, "none"),
        ("flip,crop(0.125),mixup(0.2)", 2, "flip"),
        ("flip,crop(0.125),mixup(0.2)", 3, "flip,crop(0.125)"),
        ("crop(0.0625)", 1, "none"),
        ("crop(0.0625)", 2, "crop(0.0625)"),
        ("none", 4, "none"),
        ("cutmix", 4, "none"),
        ("flip()", 2, "flip()"),
    ],
)
def test_what_fixed_views_show(text, views, shown):
    assert augment.parse(text).shown(views) == shown


def test_the_parsed_augmentation_says_whether_it_mirrors():
    image = np.arange(24).reshape(1, 2, 4, 3)
    np.testing.assert_array_equal(augment.parse("crop,flip()").mirror(image), image[:, :, ::-1])
    assert augment.parse("crop,mixup").mirror is None
