import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.data.splits import Split
from tf_transfer.data.streams import Stream, Streams
from tf_transfer.machine.strategy import make_strategy


def streams(mix_alpha=0.0, seed=3):
    """Labelled examples, and others without labels in batches of another size."""
    labelled = Split(np.arange(10, dtype=np.uint8)[:, None], np.arange(10, dtype=np.int32), [""] * 10)
    bare = Split(np.arange(7, dtype=np.float32)[:, None], None, [""] * 7)
    weights = np.linspace(0, 1, 10)
    return Streams(
        {"train": Stream(labelled, 4, weights=weights, mix_alpha=mix_alpha), "target": Stream(bare, 6)}, seed
    )


def test_the_first_stream_sets_the_length_of_an_epoch():
    made = streams()
    assert (made.first, made.size, made.sizes) == ("train", 4, {"train": 4, "target": 6})
    assert made.steps(2) == 5


def test_a_stream_is_a_function_of_seed_name_and_step():
    one, other = streams(), streams()
    late = one.batch(9)
    for step in range(5):
        other.batch(step)
    again = other.batch(9)
    for name, batch in late.items():
        for key, value in batch.items():
            np.testing.assert_array_equal(value, again[name][key])
    # The stream alone draws what it draws beside another.
    alone = Streams({"train": Stream(one.batches["train"].split, 4, weights=np.linspace(0, 1, 10))}, 3)
    np.testing.assert_array_equal(alone.batch(9)["train"]["uniform"], late["train"]["uniform"])
    assert not np.array_equal(streams(seed=4).batch(9)["target"]["uniform"], late["target"]["uniform"])


@pytest.mark.parametrize("mix_alpha", [0.0, 0.5])
def test_the_pipeline_gives_the_same_batches(mix_alpha):
    made = streams(mix_alpha)
    found = list(made.dataset(3, 9))
    assert len(found) == 6
    for step, batch in enumerate(found, 3):
        expected = made.batch(step)
        assert {name: set(values) for name, values in batch.items()} == {n: set(v) for n, v in expected.items()}
        for name, values in batch.items():
            for key, value in values.items():
                assert value.dtype == expected[name][key].dtype
                np.testing.assert_array_equal(value, expected[name][key])


def test_the_pipeline_knows_its_shapes():
    spec = streams(0.5).dataset(0, 2).element_spec
    assert spec["train"]["mix"] == tf.TensorSpec((4,), tf.float32)
    assert spec["target"]["inputs"] == tf.TensorSpec((6, 1), tf.float32)


def test_replicas_share_every_batch():
    made, strategy = streams(), make_strategy("mirrored")
    stream = made.stream(strategy, 2, 5)
    for step in range(2, 5):
        shares = strategy.experimental_local_results(next(stream))
        expected = made.batch(step)
        for name, batch in expected.items():
            for key, value in batch.items():
                np.testing.assert_array_equal(np.concatenate([s[name][key] for s in shares]), value)
