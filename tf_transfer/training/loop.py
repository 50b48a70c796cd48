"""The one training loop: a method and its streams in, trained variables and records out."""

import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_transfer.config import Run, Training
from tf_transfer.data.streams import Streams
from tf_transfer.errors import UserError
from tf_transfer.machine import signals, xla
from tf_transfer.machine.strategy import barrier, several_hosts
from tf_transfer.run.checkpoints import Unkept
from tf_transfer.training import regularizers, schedules
from tf_transfer.training.method import Method, Score
from tf_transfer.training.progress import FitResult, Progress, epoch_ends, to_be_kept
from tf_transfer.training.step import Stepper

# Steps between two reads of the losses: each read waits for the device.
_READ_EVERY = 10
# Training has diverged when the loss is this many times its first value (or is not finite).
_BURST = 1e4
# How often a phase may roll back to its last checkpoint, each time at half the rate.
_ROLLBACKS = 2


class TrainingDivergedError(UserError):
    """Training diverged, and does not go back to a checkpoint."""


class _DivergedError(Exception):
    """The loss, or a variable, is not finite, or the loss is far too high."""

    def __init__(self, what: str, step: int, rate: float):
        super().__init__(f"{what} at step {step} with the learning rate at {rate:.4g}")
        self.what, self.step, self.rate = what, step, rate


def fit(
    method: Method,
    streams: Streams,
    plan: Training,
    run: Run,
    strategy: tf.distribute.Strategy,
    log: Callable[[dict], None],
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    checkpoints=None,
    trial: xla.Trial | None = None,
) -> FitResult:
    """Trains `method` on `streams`, scores it after each epoch, keeps the best by its score (`to_be_kept`).

    Where there is a checkpoint, training resumes from it and ends as it would have without the interruption, on CPUs
    to the bit.

    Args:
        method: what to train.
        streams: of global batches.
        plan: the options of the phase, nothing left open.
        run: the options of the run; `seed` and `on_nan` count.
        strategy: its replicas share each batch; made before the variables.
        log: called with one record an epoch.
        progress: called with (steps done, steps in all, text) after every step.
        checkpoints: a `checkpoints.Checkpoints`, or what has its `due`, `load`, `save` and `last`, such as a
            `resume.Resume`; None for none.
        trial: decides whether the network is compiled by XLA; None: as it is.

    Returns:
        The outcome; the method's state is the kept epoch's (without a score, the last one's).

    Raises:
        TrainingDivergedError: training diverged.
        Stopped: a signal asked to stop; a checkpoint has been saved.
    """
    return Fit(method, streams, plan, run, strategy, log, progress, checkpoints, trial).run()


class Fit:
    """One training that may pause at the end of an epoch; its arguments are those of `fit`.

    Attributes:
        ends: the epochs after which it validates, with their last steps.
        at: where it is, with the score of the kept epoch.
    """

    def __init__(
        self, method, streams, plan, run, strategy, log, progress=lambda *_: None, checkpoints=None, trial=None
    ):
        checkpoints = checkpoints or Unkept()
        self.method, self.streams, self.plan, self.on_nan = method, streams, plan, run.on_nan
        self.strategy, self.log, self.show, self.checkpoints = strategy, log, progress, checkpoints
        self.total = streams.steps(plan.epochs)
        self.ends = epoch_ends(plan.epochs, streams.steps)
        self.rate = schedules.learning_rate(plan.schedule, plan.learning_rate, self.total, plan.warmup)
        penalty = regularizers.of_groups(plan.regularizer, method.groups())
        with strategy.scope():
            self.stepper = Stepper(method, plan, streams.sizes, strategy, run.seed, penalty, trial)
        self.trial, self.read_at = trial, 0.0
        self.at, self.best_state, self.result = Progress(), None, FitResult()
        # Workers on several hosts must stop and save at the same step: they agree whenever they read the losses.
        self.agreeing = several_hosts(strategy)
        # A rollback before the first checkpoint goes back to these.
        self.start = self._arrays() if self.on_nan == "rollback" else None

    def run(self, until: int | None = None) -> FitResult:
        """Trains to the end, or raises; see `fit`.

        Args:
            until: an epoch of `ends` after which, or after an early stop, it saves and returns, for `run` to go on from
                there; the variables are then those of the last step.
        """
        self._restore(self.checkpoints.load())
        stream = self._stream()
        ends = [e for e in self.ends if until is None or e <= until]
        if self.trial:
            self.trial.begins(self.ends[ends[-1]] - self.result.steps)
        while not self.result.stopped_early and (left := [e for e in ends if e > self.result.epochs]):
            try:
                self._train(stream, left[0])
                self._validate(left[0])
                self.result.stopped_early = self._waited_enough(left[0])
                if not self.agreeing:
                    # Workers on several hosts pause in `_train` alone, where they agree.
                    self._pause(signals.requested(), self.checkpoints.due(self.result.steps))
                if until is not None and (left[0] == until or self.result.stopped_early):
                    self._save()
            except _DivergedError as e:
                self._roll_back(e)
                stream = self._stream()
        if until is not None:
            return self.result
        for variable, value in zip(self.method.state(), self.best_state, strict=True):
            variable.assign(value)
        return self.result

    def _stream(self) -> Iterator[dict]:
        return self.streams.stream(self.strategy, self.result.steps, max(self.total, self.result.steps + 1))

    def _rate(self, step: int) -> float:
        return self.rate(step) * self.at.scale

    def _train(self, stream: Iterator[dict], epoch: int) -> None:
        """Takes the remaining steps of the epoch."""
        end, waiting, begun = self.ends[epoch], [], time.perf_counter()
        self.read_at = begun
        while self.result.steps < end:
            step = self.result.steps
            stop = signals.requested()
            due = step + 1 < end and self.checkpoints.due(step + 1)
            wishes = (bool(stop), bool(due))
            waiting.append(self.stepper.launch(next(stream), self._rate(step), step, step / self.total, wishes))
            self.result.steps += 1
            alone = (not self.agreeing and (stop or due)) or (self.trial and self.trial.waits)
            if alone or len(waiting) == _READ_EVERY or not self.at.losses or self.result.steps == end:
                wished = self._read(waiting)
                if self.agreeing:
                    stop, due = stop or (signal.SIGTERM if wished[0] else None), wished[1]
            elif self.agreeing:
                stop = due = None
            self.show(self.result.steps, self.total, f"epoch {epoch}/{max(self.ends)} loss {self.at.losses[-1]:.3f}")
            if stop or due:
                now = time.perf_counter()
                self.at.epoch_seconds += now - begun
                begun = now
                self._pause(stop, due)
                self.read_at = time.perf_counter()
        self.at.epoch_seconds += time.perf_counter() - begun
        if not self.agreeing:
            # Stop now rather than after the validation, which may be long.
            self._pause(signals.requested(), False)

    def _pause(self, stop: int | None, due: bool) -> None:
        """Saves where it is time to or a signal asks to stop; then raises `Stopped` for the signal."""
        if stop or due:
            self._save()
        if stop:
            raise signals.Stopped(stop, saved=not isinstance(self.checkpoints, Unkept))

    def _read(self, waiting: list) -> np.ndarray:
        """Waits for the losses of the launched steps and checks them; returns the sums of wishes to stop and save."""
        first, wished = self.result.steps - len(waiting), np.zeros(2)
        for step, (loss, measures, wishes) in enumerate(waiting, first):
            loss, wished = float(loss), wished + wishes.numpy()
            self.at.first_loss = loss if self.at.first_loss is None else self.at.first_loss
            if not math.isfinite(loss) or loss > _BURST * max(1.0, self.at.first_loss):
                raise _DivergedError(f"the loss became {loss:.4g}", step + 1, self._rate(step))
            self.at.losses.append(loss)
            for name, value in measures.items():
                self.at.measures.setdefault(name, []).append(float(value))
        now, before = time.perf_counter(), self.read_at
        if self.trial and self.trial.took(len(waiting), now - before):
            self.stepper.retrace()
        self.read_at = now
        waiting.clear()
        return wished

    def _validate(self, epoch: int) -> None:
        at, result = self.at, self.result
        begun, result.epochs = self.ends.get(result.epochs, 0), epoch
        with self.stepper.averaged():
            score = self.method.score()
            if score and score.value > at.top:
                at.top, at.top_error = score.value, score.standard_error
            if to_be_kept(score, at.kept, at.top - at.top_error):
                self.best_state = [v.numpy() for v in self.method.state()]
                at.kept = {"value": score.value, "loss": score.loss} if score else {}
                result.best, result.best_epoch = _told(score) if score else {}, epoch
        result.seconds += at.epoch_seconds
        record = {
            "train_loss": float(np.mean(at.losses)),
            **{f"train_{name}": float(np.mean(values)) for name, values in at.measures.items()},
            "learning_rate": self._rate(result.steps - 1),
            "examples_per_second": (result.steps - begun) * self.streams.size / max(at.epoch_seconds, 1e-9),
            "seconds": at.epoch_seconds,
        }
        if score:
            record |= {f"validation_{k}": v for k, v in _told(score).items() if k != "examples"}
        at.losses, at.measures, at.epoch_seconds = [], {}, 0.0
        self.log({"kind": "epoch", "epoch": epoch, "epochs": max(self.ends), "step": result.steps, **record})

    def _waited_enough(self, epoch: int) -> bool:
        patience, result = self.plan.patience, self.result
        return bool(patience and self.at.kept and epoch - result.best_epoch >= patience and epoch < max(self.ends))

    def _roll_back(self, error: _DivergedError) -> None:
        """Rolls back to the last good checkpoint at half the rate, or raises."""
        if self.on_nan != "rollback" or self.at.rollbacks == _ROLLBACKS:
            last = self.checkpoints.last
            good = f"The last good checkpoint is that of step {last}" if last else "There is no checkpoint yet"
            back = f", after {_ROLLBACKS} rollbacks" if self.at.rollbacks else ""
            again = "" if self.on_nan == "rollback" else " or --on_nan=rollback"
            raise TrainingDivergedError(
                f"Training diverged{back}: {error}. {good}. Begin anew with --restart and a lower --learning_rate or "
                f"--clip_norm=1{again}; --phase=lr_find proposes a rate."
            ) from error
        scale, rollbacks = self.at.scale / 2, self.at.rollbacks + 1
        self._restore(self.checkpoints.load())
        # All workers must have read the checkpoint before the chief writes a new one.
        barrier(self.strategy)
        self.at.scale, self.at.rollbacks = scale, rollbacks
        what = {"what": error.what, "step": error.step, "learning_rate": error.rate}
        self.log({"kind": "rollback", **what, "back_to_step": self.result.steps, "factor": scale})
        self._save()

    def _variables(self) -> dict[str, tf.Variable]:
        named = {"state": self.method.state(), "average": self.stepper.averages}
        found = {f"{name}/{i}": v for name, variables in named.items() for i, v in enumerate(variables)}
        for i, slots in enumerate(self.stepper.slots):
            found |= {f"slot/{i}/{j}": slot for j, slot in enumerate(slots)}
        return found

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self._variables().items()}

    def _save(self) -> None:
        arrays, step = self._arrays(), self.result.steps
        if not all(np.isfinite(a).all() for a in arrays.values()):
            raise _DivergedError("a weight is no finite number", step, self._rate(step - 1))
        facts = dataclasses.asdict(self.at) | {"result": dataclasses.asdict(self.result)}
        best = (self.result.best_epoch, self.best_state) if self.best_state is not None else None
        self.checkpoints.save(step, arrays, best, facts)

    def _restore(self, saved) -> None:
        """Restores everything from a checkpoint; without one, from the start."""
        arrays = saved.arrays if saved else self.start
        self.at = Progress.of(saved.facts) if saved else Progress()
        self.result, self.best_state = FitResult(**self.at.result), saved.best if saved else None
        # Decided anew, as this command's --patience may differ from the one before.
        self.result.stopped_early = bool(self.result.epochs) and self._waited_enough(self.result.epochs)
        for name, variable in self._variables().items() if arrays else ():
            variable.assign(arrays[name])


def _told(score: Score) -> dict:
    """Returns what is recorded of a score: its measures, its loss, and its value where no accuracy stands for it."""
    value = {} if "accuracy" in score.measures else {"value": score.value}
    return {**score.measures, "loss": score.loss, **value}
