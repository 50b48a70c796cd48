"""The one training loop: a loss and groups of variables in, trained variables and records out."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tf_transfer.data.batches import Batches
from tf_transfer.errors import UserError
from tf_transfer.training import schedules, tasks
from tf_transfer.training.step import LoopConfig, Stepper, Task

# Steps between two looks at the loss: each look waits for the device.
_READ_EVERY = 10


@dataclass
class FitResult:
    """What a fit did: epochs run, the best of them by validation (or the last), its measures."""

    epochs: int = 0
    best_epoch: int = 0
    best: dict = field(default_factory=dict)
    stopped_early: bool = False
    steps: int = 0
    seconds: float = 0.0


def fit(
    task: Task,
    batches: Batches,
    config: LoopConfig,
    strategy: tf.distribute.Strategy,
    log: Callable[[dict], None],
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> FitResult:
    """Trains `task` on `batches`, validates after each epoch, keeps the best by validation (`_to_be_kept`).

    Args:
        task: what to train.
        batches: the stream of global batches.
        config: how.
        strategy: its replicas share each batch; made before the variables.
        log: called with one record an epoch.
        progress: called with (steps done, steps in all, text) after every step.

    Returns:
        What happened; the task's state is the best epoch's (the last one's without validation).

    Raises:
        UserError: the loss left the finite numbers.
    """
    total = batches.steps(config.epochs)
    ends = _epoch_ends(config.epochs, batches.steps)
    rate = schedules.learning_rate(config.schedule, config.learning_rate, total, config.warmup)
    with strategy.scope():
        stepper = Stepper(task, config, batches.size, strategy)
    stream = iter(strategy.experimental_distribute_dataset(batches.dataset(0, total)))
    result, best_state, step, top = FitResult(), None, 0, 0.0
    begun = time.perf_counter()
    last = max(ends)
    for epoch, end in ends.items():

        def show(done, text, epoch=epoch):
            progress(done, total, f"epoch {epoch}/{last} {text}")

        train, step = _train_epoch(stepper, stream, rate, step, end, show)
        with stepper.averaged():
            measured = task.validate() if task.validate else {}
            top = max(top, measured.get("accuracy", 0.0))
            if _to_be_kept(measured, result.best, top):
                best_state = [v.numpy() for v in task.state]
                result.best, result.best_epoch = measured, epoch
        result.epochs, result.steps = epoch, step
        validation = {f"validation_{k}": measured[k] for k in ("loss", "accuracy") if measured}
        log({"kind": "epoch", "epoch": epoch, "epochs": last, "step": step, **train, **validation})
        if config.patience and measured and epoch - result.best_epoch >= config.patience and epoch < last:
            result.stopped_early = True
            break
    for variable, value in zip(task.state, best_state, strict=True):
        variable.assign(value)
    result.seconds = time.perf_counter() - begun
    return result


def _epoch_ends(epochs: float, steps: Callable[[float], int], most: int = 20) -> dict[int, int]:
    """Maps the epochs after which to validate to their last step; of many short epochs, every k-th and the last."""
    last = max(1, math.ceil(epochs))
    stride = math.ceil(last / most)
    epoch_at = {steps(min(e, epochs)): e for e in range(1, last + 1) if e % stride == 0 or e == last}
    # Keyed by step, as epochs of less than a batch may end at the same one: the last of them stands for all.
    return {epoch: step for step, epoch in epoch_at.items()}


def _to_be_kept(measured: dict, kept: dict, top: float) -> bool:
    """Says whether this epoch takes the place of the kept one; without validation the last always does.

    It does where its accuracy is within one standard error of the highest so far and its loss is lower, or where
    the kept one is no longer within (after the one-standard-error rule; Breiman et al., Classification and
    Regression Trees, 1984, 3.4.3): on twenty pictures the highest accuracy alone is luck. One epoch is kept at a
    time: what was passed over does not come back.

    Args:
        measured: accuracy, loss and examples of this epoch, or nothing.
        kept: those of the epoch kept so far, or nothing.
        top: the highest accuracy so far, this epoch's included.
    """
    if not measured or not kept:
        return True
    least = top - tasks.standard_error(top, measured["examples"])
    return kept["accuracy"] < least or (measured["accuracy"] >= least and measured["loss"] < kept["loss"])


def _finite(loss: float, step: int, rate: float) -> float:
    if not math.isfinite(loss):
        raise UserError(
            f"The loss became {loss} at step {step + 1} with --learning_rate at {rate:.4g}. "
            "Lower --learning_rate, or set --clip_norm=1; --phase=lr_find proposes a rate."
        )
    return loss


def _train_epoch(stepper, stream, rate, start, end, progress) -> tuple[dict, int]:
    begun, losses, hits, waiting = time.perf_counter(), [], [], []
    for step in range(start, end):
        waiting.append(stepper.launch(next(stream), rate(step), step))
        if len(waiting) == _READ_EVERY or step in (start, end - 1):
            for back, (loss, hit) in zip(range(len(waiting) - 1, -1, -1), waiting, strict=True):
                losses.append(_finite(float(loss), step - back, rate(step - back)))
                hits.append(float(hit))
            waiting.clear()
        progress(step + 1, f"loss {losses[-1]:.3f}")
    seconds = time.perf_counter() - begun
    record = {
        "train_loss": float(np.mean(losses)),
        "train_accuracy": float(np.mean(hits)),
        "learning_rate": rate(end - 1),
        "images_per_second": (end - start) * stepper.batch_size / seconds,
        "seconds": seconds,
    }
    return record, end
