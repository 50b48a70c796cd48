"""A fit that is interrupted anywhere ends as the one that was not: weights to the bit, records line by line."""

import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from engine_tools import Simple, plan_of, run_of

from tf_transfer.errors import UserError
from tf_transfer.machine import signals, xla
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.run.checkpoints import Checkpoints, Every
from tf_transfer.run.directory import RunDir
from tf_transfer.training.loop import Fit, fit
from tf_transfer.training.method import ParameterGroup

CONFIG = plan_of(3, 0.5, optimizer="adamw", ema=0.5, clip_norm=0.5, warmup=0.2, patience=2)
# Three epochs of five steps.
STEPS = 15


class CrashError(Exception):
    pass


def task_of(softmax_regression, strategy, batches, poison=()):
    """Softmax regression that validates on what it trains on, by the variables; steps in `poison` give no number."""
    task = softmax_regression(strategy)
    split = batches.batches[batches.first].split
    inputs, labels = split.inputs, split.labels

    def validate():
        bias, kernel = (v.numpy() for v in task.state())
        logits = inputs @ kernel + bias
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        right = float((logits.argmax(1) == labels).mean())
        return {"loss": float(-np.log(p[np.arange(len(p)), labels]).mean()), "accuracy": right, "examples": len(labels)}

    def loss(batch, noise):
        losses, hits = task.simple(batch, noise)
        bad = tf.reduce_any(tf.equal(noise.seed[1], tf.constant([-1, *poison])))
        return losses * (0.5 + noise.uniform((), 0)) + tf.where(bad, np.nan, 0.0), hits

    return Simple(loss, task.groups(), task.state(), validate)


def ended(task, records, result):
    rows = [{k: v for k, v in r.items() if k not in ("seconds", "examples_per_second")} for r in records]
    return (
        [v.numpy().tobytes() for v in task.state()],
        rows,
        (result.epochs, result.best_epoch, result.best, result.steps),
    )


class Recording(Checkpoints):
    """Checkpoints that keep the records with them, and crash after so many saves."""

    def __init__(self, run, every, records, crash_after=None):
        super().__init__(run, "full", every)
        self.records, self.left = records, crash_after

    def save(self, step, arrays, best, facts):
        super().save(step, arrays, best, {"fit": dict(facts), "records": list(self.records)})
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise CrashError

    def load(self):
        found = super().load()
        self.records[:] = found.facts["records"] if found else []
        return found and type(found)(found.step, found.arrays, found.best, found.facts["fit"])


def train(softmax_regression, batches, strategy, checkpoints=None, config=CONFIG, poison=(), on_nan="stop"):
    task, records = task_of(softmax_regression, strategy, batches, poison), []
    if checkpoints:
        checkpoints.records = records
    result = fit(task, batches, config, run_of(on_nan=on_nan), strategy, records.append, checkpoints=checkpoints)
    return ended(task, records, result)


@pytest.mark.parametrize("crashes", range(1, STEPS + 1))
def test_it_ends_as_if_nothing_had_happened(softmax_regression, make_streams, one_device, tmp_path, crashes):
    batches = make_streams(n=40, size=8)
    undisturbed = train(softmax_regression, batches, one_device)
    run = RunDir(tmp_path)
    with pytest.raises(CrashError):
        train(softmax_regression, batches, one_device, Recording(run, Every(steps=1), [], crashes))
    assert train(softmax_regression, batches, one_device, Recording(run, Every(steps=1), [])) == undisturbed


def test_again_and_again_on_replicas(softmax_regression, make_streams, tmp_path):
    mirrored = make_strategy("mirrored")
    batches, run = make_streams(n=40, size=8), RunDir(tmp_path)
    undisturbed = train(softmax_regression, batches, mirrored)
    for _ in range(STEPS // 4):
        with pytest.raises(CrashError):
            train(softmax_regression, batches, mirrored, Recording(run, Every(steps=2), [], 2))
    assert train(softmax_regression, batches, mirrored, Recording(run, Every(steps=2), [])) == undisturbed


def test_an_early_stop_comes_where_it_would_have(softmax_regression, make_streams, one_device, tmp_path):
    batches, config = make_streams(n=40, size=8), plan_of(30, 1e-9, patience=2)
    undisturbed = train(softmax_regression, batches, one_device, config=config)
    assert undisturbed[2][0] < 30
    for crash in (5, 8, 10, 11):
        run = RunDir(tmp_path / str(crash))
        with pytest.raises(CrashError):
            train(softmax_regression, batches, one_device, Recording(run, Every(steps=1), [], crash), config)
        assert train(softmax_regression, batches, one_device, Recording(run, Every(steps=1), []), config) == undisturbed


# It is looked for before each of the five steps of an epoch, after them, and after the validation.
@pytest.mark.parametrize(("looks", "step"), [(0, 1), (5, 5), (6, 5), (8, 7), (20, 15)])
def test_a_signal_ends_the_step_and_saves(
    softmax_regression, make_streams, one_device, tmp_path, monkeypatch, looks, step
):
    batches, run = make_streams(n=40, size=8), RunDir(tmp_path)
    undisturbed = train(softmax_regression, batches, one_device)
    asked = iter([None] * looks + [signal.SIGTERM])
    monkeypatch.setattr(signals, "requested", lambda: next(asked))
    with pytest.raises(signals.Stopped, match="SIGTERM") as stopped:
        train(softmax_regression, batches, one_device, Recording(run, Every(), []))
    assert (stopped.value.code, stopped.value.saved) == (143, True)
    assert Checkpoints(run, "full").load().step == step
    monkeypatch.undo()
    assert train(softmax_regression, batches, one_device, Recording(run, Every(), [])) == undisturbed


def test_it_pauses_at_the_end_of_an_epoch_and_goes_on(softmax_regression, make_streams, one_device, tmp_path):
    """In the same process, and in another one, which finds it paused and trains nothing to pause again."""
    batches = make_streams(n=40, size=8)
    undisturbed = train(softmax_regression, batches, one_device)
    for again in (False, True):
        kept, records = Recording(RunDir(tmp_path / str(again)), Every(), []), []
        task = task_of(softmax_regression, one_device, batches)
        made = Fit(task, batches, CONFIG, run_of(), one_device, records.append, checkpoints=kept)
        kept.records = records
        assert made.run(until=2).steps == kept.last == 10 and len(records) == 2
        if again:
            task = task_of(softmax_regression, one_device, batches)
            kept = Recording(RunDir(tmp_path / str(again)), Every(), records)
            made = Fit(task, batches, CONFIG, run_of(), one_device, records.append, checkpoints=kept)
            assert made.run(until=2).steps == 10 and len(records) == 2
        assert made.at.kept and ended(task, records, made.run()) == undisturbed


def test_it_pauses_where_it_stops_early(softmax_regression, make_streams, one_device, tmp_path):
    batches, config = make_streams(n=40, size=8), plan_of(30, 1e-9, patience=1)
    undisturbed = train(softmax_regression, batches, one_device, config=config)
    task, records = task_of(softmax_regression, one_device, batches), []
    kept = Recording(RunDir(tmp_path), Every(), records)
    made = Fit(task, batches, config, run_of(), one_device, records.append, checkpoints=kept)
    assert made.run(until=20).steps == kept.last < 20 * 5
    assert ended(task, records, made.run()) == undisturbed


def test_a_trial_counts_the_steps_that_are_left(softmax_regression, make_streams, one_device, tmp_path):
    """Up to the pause, and of a training that goes on near its end."""
    trials = xla.Trials(SimpleNamespace(xla=False), xla.Costs(None), {}, 1)
    batches, left = make_streams(n=40, size=8), []
    for until in (2, None):
        trial = trials("step", 10**6, 8)
        task, kept = task_of(softmax_regression, one_device, batches), Recording(RunDir(tmp_path), Every(), [])
        made = Fit(task, batches, CONFIG, run_of(), one_device, lambda record: None, checkpoints=kept, trial=trial)
        trial.took = lambda calls, seconds, trial=trial: left.append((trial.calls, calls))
        made.run(until=until)
    # The first loss is waited for alone; then up to the end of an epoch of five steps.
    assert left[0][0] == 10 and left[-1][0] == 5 and sum(calls for _, calls in left) == STEPS


def test_without_checkpoints_a_signal_stops_and_says_so(softmax_regression, make_streams, one_device, monkeypatch):
    monkeypatch.setattr(signals, "requested", lambda: signal.SIGINT)
    with pytest.raises(signals.Stopped) as stopped:
        train(softmax_regression, make_streams(n=40, size=8), one_device)
    assert (stopped.value.code, stopped.value.saved) == (130, False)


# --- numbers going wrong


def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(
    softmax_regression, make_streams, one_device, tmp_path
):
    message = (
        r"the loss became nan at step 8 with the learning rate at 0\.\d+\. The last good checkpoint is that of step 6"
    )
    with pytest.raises(UserError, match=message):
        train(
            softmax_regression, make_streams(), one_device, Recording(RunDir(tmp_path), Every(steps=3), []), poison=[7]
        )
    with pytest.raises(UserError, match="There is no checkpoint yet"):
        train(softmax_regression, make_streams(), one_device, poison=[7])


@pytest.mark.parametrize("every", [3, None])
def test_rollback_goes_back_at_half_the_rate_twice_at_most(
    softmax_regression, make_streams, one_device, tmp_path, every
):
    kept = Recording(RunDir(tmp_path), Every(steps=every), [])
    with pytest.raises(UserError, match="Training diverged"):
        train(softmax_regression, make_streams(), one_device, kept, poison=[7], on_nan="rollback")
    back = [r for r in kept.records if r["kind"] == "rollback"]
    assert [(r["back_to_step"], r["factor"]) for r in back] == [(6 if every else 0, 0.5), (6 if every else 0, 0.25)]
    assert all(r["what"] == "the loss became nan" and r["step"] == 8 for r in back)


class _Once:
    """A loss that bursts at high rates only: what a rollback is for."""

    def __new__(cls, strategy, validate=None):
        with strategy.scope():
            variable = tf.Variable([1.0])

        def loss(batch, noise):
            return 0.5 * variable**2 * tf.ones_like(batch["weight"]) / batch["weight"], 0 * batch["weight"]

        return Simple(loss, [ParameterGroup("head", [variable])], [variable], validate)


def test_a_rollback_saves_a_run_whose_rate_is_too_high(make_streams, one_device, tmp_path):
    # x -> (1 - rate) x: at 3 it doubles with changing sign, at 1.5 it halves.
    config = plan_of(10, 3.0, optimizer="sgd(momentum=0)", schedule="constant")
    task, records = _Once(one_device), []
    kept = Recording(RunDir(tmp_path), Every(steps=10), records)
    result = fit(
        task,
        make_streams(n=40, size=8),
        config,
        run_of(on_nan="rollback"),
        one_device,
        records.append,
        checkpoints=kept,
    )
    back = [r for r in records if r["kind"] == "rollback"]
    # 4^8 / 2 is the first loss above ten thousand; the first checkpoint would have come after it.
    told = {"what": "the loss became 3.277e+04", "step": 9, "back_to_step": 0, "factor": 0.5}
    assert len(back) == 1 and told.items() <= back[0].items()
    assert result.steps == 50 and records[-1]["learning_rate"] == 1.5
    np.testing.assert_allclose(task.state()[0].numpy(), [0.5**50], rtol=1e-5)
    # Each epoch is told once.
    assert [r["epoch"] for r in records if r["kind"] == "epoch"] == list(range(1, 11))


def test_weights_that_are_no_numbers_are_not_saved(make_streams, one_device, tmp_path):
    task = _Once(one_device)
    config = plan_of(1, 1e39, optimizer="sgd(momentum=0)", schedule="constant")
    kept = Recording(RunDir(tmp_path), Every(steps=1), [])
    with pytest.raises(UserError, match=r"a weight is no finite number at step 1 .* There is no checkpoint yet"):
        fit(task, make_streams(n=40, size=8), config, run_of(), one_device, lambda r: None, checkpoints=kept)
    assert kept.load() is None
