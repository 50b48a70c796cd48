"""The decision by cost which functions are compiled: on the seconds that a test gives, and in a real training."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.machine import xla
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.models.inference import Predictor

FACTS = {"network": "resnet50"}


def trial(calls, layers=10, costs=None, **more):
    told, model = [], types.SimpleNamespace(xla=False)
    trials = xla.Trials(model, costs or xla.Costs(None), FACTS, layers, told.append, **more)
    return trials("training step", calls, 64), told


def run(made, plain, compiled, first=3.0):
    """Takes calls one by one until there are no more; returns how many were compiled, and how often it was traced."""
    traces, count = 1, 0
    for number in range(int(made.calls)):
        seconds = compiled if made.compiled else plain
        seconds += first * (number == 0 or made.waits)
        count += made.compiled
        traces += made.took(1, seconds)
    return count, traces


@pytest.mark.parametrize(
    ("calls", "seconds", "compiles"),
    # By the guess, 10 layers take 7 seconds and half of the time is saved; of 1000 calls 991 are left.
    [(1000, 7.1 / 495.5, True), (1000, 6.9 / 495.5, False), (20, 1.0, False), (20, 2.0, True), (3, 100.0, False)],
)
def test_it_compiles_where_the_calls_to_come_save_more_than_it_takes(calls, seconds, compiles):
    made, told = trial(calls)
    count, traces = run(made, seconds, seconds / 2)
    assert (count > 0, traces) == (compiles, 1 + compiles)
    if compiles:
        # The first call traces, eight are timed; all others are compiled.
        assert count == calls - 9
    assert [r["compiled"] for r in told] == ([] if calls < 9 else [compiles] * (1 + compiles))


def test_what_was_measured_decides_the_next_time(tmp_path):
    costs = xla.Costs(tmp_path / "gpu/costs.json")
    made, told = trial(1000, costs=costs)
    run(made, 0.1, 0.02, first=40.0)
    assert told[-1]["ratio"] == pytest.approx(0.2) and told[-1]["compiling_seconds"] == pytest.approx(40.0)
    assert [r["measured"] for r in told] == [False, True]
    # 300 calls save 0.08 s each of 291 to come, 23 s of the 40; 600 calls save 47 s.
    for calls, compiles in ((300, False), (600, True)):
        made, told = trial(calls, costs=xla.Costs(tmp_path / "gpu/costs.json"))
        assert (run(made, 0.1, 0.02)[0] > 0, told[0]["measured"]) == (compiles, True)
    # Another batch is another function.
    assert costs.known(FACTS | {"what": "training step", "batch": 64}).ratio == pytest.approx(0.2)
    assert costs.known(FACTS | {"what": "training step", "batch": 32}) is None


def test_what_is_slower_compiled_is_given_up(tmp_path):
    costs = xla.Costs(tmp_path / "costs.json")
    made, told = trial(1000, costs=costs)
    assert run(made, 0.1, 0.15) == (9, 3)
    assert [r["compiled"] for r in told] == [True, False]
    # And not tried again.
    assert run(trial(10**6, costs=costs)[0], 0.1, 0.15) == (0, 1)


def test_calls_to_come_may_be_more_later_and_then_it_is_decided_anew():
    # By the guess, of 7 seconds that compiling takes 90 calls of 0.1 s save half, of 190 all.
    made, told = trial(1000)
    made.begins(100)
    assert run(made, 0.1, 0.05)[0] == 0 and [r["calls"] for r in told] == [91]
    made.begins(200)
    assert run(made, 0.1, 0.05)[0] > 0 and (told[1]["calls"], told[1]["compiled"]) == (192, True)
    # Slower compiled, it is given up for good.
    made, told = trial(1000)
    run(made, 0.1, 0.15)
    made.begins(10**6)
    assert run(made, 0.1, 0.15) == (0, 1)


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 1}', "\x00"])
def test_a_damaged_file_of_costs_is_as_if_it_were_not_there(tmp_path, content):
    (tmp_path / "costs.json").write_text(content)
    costs = xla.Costs(tmp_path / "costs.json")
    assert costs.known(FACTS) is None
    costs.keep(FACTS, xla.Cost(1.0, 0.5))
    assert costs.known(FACTS) == xla.Cost(1.0, 0.5)


def test_costs_that_cannot_be_written_are_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    costs = xla.Costs(tmp_path / "file/costs.json")
    costs.keep(FACTS, xla.Cost(1.0, 0.5))
    assert costs.known(FACTS) is None and (tmp_path / "file").read_text() == ""


def test_all_workers_do_as_the_chief_does():
    made, _ = trial(1000, agree=lambda choice: True)
    assert run(made, 1e-6, 0.5e-6)[0] > 0


def test_the_words_say_what_and_why():
    made, told = trial(1000)
    run(made, 0.01, 0.005)
    assert xla.words(told[0]) == (
        "XLA does not compile the training step: its 991 calls to come, of 10 ms, would save 5 s; compiling takes 7 s, "
        "by a guess"
    )


class Doubling:
    """A model whose function shows whether it was traced to be compiled."""

    xla = False

    def __call__(self, x):
        return tf.cast(x, tf.float32) * 2 + (0.0 if not self.xla else tf.function(lambda: 0.0, jit_compile=True)())


def test_a_predictor_traces_anew_and_its_outputs_stay_in_order(tmp_path):
    model, told, costs = Doubling(), [], xla.Costs(tmp_path / "costs.json")
    facts = {"what": "forward pass", "batch": 4}
    costs.keep(facts, xla.Cost(0.0, 1e-9))
    trials = xla.Trials(model, costs, {}, 1, told.append)
    inputs = np.arange(120.0).reshape(120, 1)
    predict = Predictor(model, make_strategy("one"), 4, trials("forward pass", 30, 4))
    np.testing.assert_array_equal(predict(inputs), 2 * inputs)
    assert told[0]["compiled"] and costs.known(facts) != xla.Cost(0.0, 1e-9)
    assert model.xla is False
