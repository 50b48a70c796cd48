"""A function is traced once a signature, and TensorFlow sees no retracing where there is none."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.machine.strategy import make_strategy
from tf_transfer.machine.traced import Traced
from tf_transfer.models.inference import Predictor


@pytest.fixture
def warned():
    """What TensorFlow's log says."""
    told, handler = [], logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    yield told
    tf.get_logger().removeHandler(handler)


def test_traced_once_a_signature():
    traces = []

    def double(values):
        traces.append(values["x"].shape)
        return {"y": 2 * values["x"]}

    call = Traced(double)
    for size in (3, 4, 3, 4):
        np.testing.assert_array_equal(call({"x": tf.ones(size)})["y"], np.full(size, 2.0))
    assert call({"x": tf.ones(3, tf.int32)})["y"].dtype == tf.int32
    assert [tuple(shape) for shape in traces] == [(3,), (4,), (3,)]


def test_values_of_replicas(strategy):
    traces = []

    def share(x):
        traces.append(1)
        return strategy.run(lambda y: y + 1, args=(x,))

    call = Traced(share)
    for start in (0, 5):
        given = strategy.experimental_distribute_values_from_function(
            lambda c, start=start: tf.constant(start + c.replica_id_in_sync_group)
        )
        parts = strategy.experimental_local_results(call(given))
        assert [int(p) for p in parts] == [start + i + 1 for i in range(strategy.num_replicas_in_sync)]
    assert len(traces) == 1


def test_many_models_in_one_process_are_no_retracing(warned):
    traces = []
    for number in range(12):

        def model(x, number=number):
            traces.append(number)
            return tf.cast(x, tf.float32) * number

        predict = Predictor(model, make_strategy("one"), 4)
        np.testing.assert_array_equal(predict(np.ones((6, 2), np.uint8)), np.full((6, 2), number))
    assert traces == list(range(12)) and warned == []


def test_the_same_count_would_be_one_of_tf_function(warned):
    """The log that the test before reads is the right one."""
    for number in range(12):
        tf.function(lambda x, number=number: x * number, autograph=False)(tf.ones(2))
    assert "triggered tf.function retracing" in warned[0]
