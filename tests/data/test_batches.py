import numpy as np
import pytest

from tf_transfer.data.batches import DRAWS, Batches, in_order
from tf_transfer.data.splits import Split


def stream(n=10, size=4, seed=0, mix_alpha=0.0):
    """Pictures, labels and weights that all tell which example they belong to."""
    inputs = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 2, 2, 3))
    split = Split(inputs, np.arange(n, dtype=np.int32), [str(i) for i in range(n)])
    return Batches(split, size, seed, np.arange(n) / 10, mix_alpha)


def examples(batches, steps):
    return np.concatenate([batches.batch(s)["label"] for s in range(steps)])


@pytest.mark.parametrize("size", [1, 4, 10, 16])
def test_every_epoch_visits_every_example_once(size):
    drawn = examples(stream(size=size), -(-50 // size))[:50].reshape(5, 10)
    for epoch in drawn:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in drawn}) == 5, "epochs in the same order"


def test_parts_of_an_example_stay_together():
    batch = stream().batch(0)
    np.testing.assert_array_equal(batch["inputs"][:, 0, 0, 0], batch["label"])
    np.testing.assert_allclose(batch["weight"], batch["label"] / 10, rtol=1e-6)


@pytest.mark.parametrize("size", [4, 16])
def test_batches_are_full_and_of_the_stated_types(size):
    batches = stream(size=size, mix_alpha=0.5)
    types = {"inputs": "uint8", "label": "int32", "weight": "float32", "uniform": "float32", "row": "int32"}
    types |= {"inputs2": "uint8", "label2": "int32", "mix": "float32"}
    for step in range(5):
        batch = batches.batch(step)
        assert {k: str(v.dtype) for k, v in batch.items()} == types
        assert {len(v) for v in batch.values()} == {size}
        assert batch["uniform"].shape == (size, DRAWS)
        assert (batch["uniform"] >= 0).all() and (batch["uniform"] < 1).all()


def test_a_batch_does_not_depend_on_those_drawn_before():
    forward, backward = stream(mix_alpha=0.5), stream(mix_alpha=0.5)
    first = [forward.batch(s) for s in range(20)]
    second = [backward.batch(s) for s in reversed(range(20))][::-1]
    for a, b in zip(first, second, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_seeds_and_epochs_differ():
    assert not np.array_equal(examples(stream(seed=0), 5), examples(stream(seed=1), 5))
    draws = np.concatenate([stream(size=10).batch(epoch)["uniform"] for epoch in range(50)])
    assert len(np.unique(draws[:, 0])) == 500
    # Uniform numbers, independent between the columns: 4 standard errors.
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=4 * (1 / 12 / 500) ** 0.5)
    correlation = np.corrcoef(draws.T) - np.eye(DRAWS)
    assert np.abs(correlation).max() < 4 / 500**0.5


def test_random_numbers_belong_to_the_example_not_to_its_place():
    by_size = []
    for size in (5, 10):
        batches = stream(size=size, mix_alpha=0.5)
        parts = [batches.batch(s) for s in range(10 // size)]
        label = np.concatenate([p["label"] for p in parts])
        by_size.append([np.concatenate([p[k] for p in parts])[np.argsort(label)] for k in ("uniform", "mix", "label2")])
    for a, b in zip(*by_size, strict=True):
        np.testing.assert_array_equal(a, b)


def test_partners_come_only_when_mixing_and_are_a_permutation_too():
    assert set(stream().batch(0)) == {"inputs", "label", "weight", "uniform", "row"}
    batch = stream(size=10, mix_alpha=0.3).batch(0)
    np.testing.assert_array_equal(np.sort(batch["label2"]), np.arange(10))
    np.testing.assert_array_equal(batch["inputs2"][:, 0, 0, 0], batch["label2"])


def test_mixing_shares_follow_their_beta_law():
    alpha = 0.4
    mix = stream(n=4000, size=4000, mix_alpha=alpha).batch(0)["mix"]
    # Var of Beta(a, a) is 1 / (4 (2a + 1)).
    np.testing.assert_allclose([mix.mean(), mix.var()], [0.5, 1 / (4 * (2 * alpha + 1))], rtol=0.05)
    assert (mix >= 0).all() and (mix <= 1).all()


@pytest.mark.parametrize(
    ("n", "size", "epochs", "steps"),
    [(100, 10, 3, 30), (100, 8, 1, 12), (100, 8, 0.5, 6), (100, 8, 2.5, 31), (10, 256, 1, 1), (10, 16, 3, 2)],
)
def test_steps_are_the_nearest_number_of_batches(n, size, epochs, steps):
    assert stream(n, size).steps(epochs) == steps


def test_a_split_without_labels_gives_none():
    inputs = np.arange(6, dtype=np.uint8)[:, None]
    batches = Batches(Split(inputs, None, [""] * 6), 4, 0, mix_alpha=0.5)
    batch = batches.batch(0)
    assert set(batch) == {"inputs", "inputs2", "mix", "weight", "uniform", "row"}
    np.testing.assert_array_equal(batch["weight"], np.ones(4))
    seen = np.concatenate([batches.batch(step)["inputs"] for step in range(3)])
    np.testing.assert_array_equal(np.bincount(seen[:, 0]), [2] * 6)


def test_views_of_an_example_have_numbers_of_their_own():
    one, three = stream(size=10), stream(size=10)
    three = Batches(three.split, 10, 0, three.example_weights, views=3)
    plain, batch = one.batch(0), three.batch(0)
    # The first view is what a single one would be.
    np.testing.assert_array_equal(batch["uniform"], plain["uniform"])
    np.testing.assert_array_equal(batch["uniform_views"][:, 0], plain["uniform"])
    assert batch["uniform_views"].shape == (10, 3, DRAWS) and batch["uniform_views"].dtype == np.float32
    assert len(np.unique(batch["uniform_views"])) == 10 * 3 * DRAWS


def test_streams_of_other_names_come_in_another_order():
    named = [Batches(stream().split, 10, 0, stream=name) for name in ("", "target", "other")]
    orders = [tuple(b.batch(0)["label"]) for b in named]
    assert len(set(orders)) == 3
    # The name decides, and nothing else.
    again = Batches(stream().split, 10, 0, stream="target")
    # Names whose checksum has 32 bits keep the seed too.
    for name in ("other", "unlabelled", "strong", "test", "target"):
        drawn = {Batches(stream().split, 10, seed, stream=name).batch(0)["uniform"].tobytes() for seed in (0, 1, 700)}
        assert len(drawn) == 3, name
    np.testing.assert_array_equal(again.batch(7)["uniform"], named[1].batch(7)["uniform"])


@pytest.mark.parametrize(("n", "size", "sizes"), [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 8, [3])])
def test_in_order_pads_the_last_batch(n, size, sizes):
    inputs = np.arange(n)
    chunks = list(in_order(inputs, size))
    assert [real for _, real in chunks] == sizes
    assert all(len(chunk) == size for chunk, _ in chunks)
    np.testing.assert_array_equal(np.concatenate([chunk[:real] for chunk, real in chunks]), inputs)
