"""Finds a learning rate: raises it until the loss explodes, and proposes one from where the loss fell fastest."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_transfer.config import Run, Training
from tf_transfer.data.streams import Streams
from tf_transfer.errors import UserError
from tf_transfer.training import regularizers
from tf_transfer.training.method import Method
from tf_transfer.training.step import Stepper

# Half the width, in steps, of the window in which the fall of the loss is measured.
_SPAN = 15


def find_learning_rate(
    method: Method,
    streams: Streams,
    plan: Training,
    run: Run,
    strategy: tf.distribute.Strategy,
    steps: int = 100,
    low: float = 1e-5,
    high: float = 3.0,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> dict:
    """Raises the rate geometrically from `low` to `high` and watches the loss (Smith 2017, arXiv:1506.01186).

    Returns:
        `rates` and bias-corrected smoothed `losses` until the loss passed four times its minimum, and
        the `suggestion`: the rate a third of the way (geometrically) from where the fall was steepest
        to the loss's minimum. The method's state is put back.

    Raises:
        UserError: the loss is not finite even before the first step.
    """
    penalty = regularizers.of_groups(plan.regularizer, method.groups())
    with strategy.scope():
        stepper = Stepper(method, plan, streams.sizes, strategy, run.seed, penalty)
    before = [v.numpy() for v in method.state()]
    stream = streams.stream(strategy, 0, steps)
    rates, losses, smooth = [], [], 0.0
    for step in range(steps):
        rate = low * (high / low) ** (step / (steps - 1))
        loss, _ = stepper(next(stream), rate, step, step / steps)
        smooth = 0.9 * smooth + 0.1 * loss
        corrected = smooth / (1 - 0.9 ** (step + 1))
        progress(step + 1, steps, f"rate {rate:.1e} loss {loss:.3f}")
        if not math.isfinite(loss) or (losses and corrected > 4 * min(losses)):
            break
        rates.append(rate)
        losses.append(corrected)
    for variable, value in zip(method.state(), before, strict=True):
        variable.assign(value)
    if not rates:
        raise UserError(f"--phase=lr_find: the loss is {loss} before the first step; the weights are unusable.")
    return {"rates": rates, "losses": losses, "suggestion": suggest(np.array(rates), np.array(losses))}


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """A rate between those of the steepest fall and of the lowest loss, nearer to the first.

    It is the lowest rate where the loss rises from the start.

    Args:
        rates: learning rates, ascending.
        losses: the loss at each.
    """
    lowest = int(np.argmin(losses))
    if lowest < 3:
        return float(rates[0])
    # Over many steps: between two steps, the batches differ more than the loss falls.
    span = min(_SPAN, lowest // 2)
    fall = losses[2 * span : lowest + 1] - losses[: lowest + 1 - 2 * span]
    steepest = span + int(np.argmin(fall))
    return float(rates[steepest] ** (2 / 3) * rates[lowest] ** (1 / 3))
