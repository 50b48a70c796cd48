"""Learning-rate schedules: pure functions of the progress through a phase."""

import math
from collections.abc import Callable

from tf_transfer.errors import UserError
from tf_transfer.registry import Registry, check_range

# Factories of progress in [0, 1] -> factor on the peak rate.
SCHEDULES = Registry("--schedule")


@SCHEDULES.register("cosine")
def cosine(final: float = 0.0) -> Callable[[float], float]:
    """Half a cosine from 1 to `final` (SGDR without restarts, Loshchilov & Hutter 2017)."""
    check_range("--schedule", "cosine(final)", final, 0.0, 1.0)
    return lambda progress: final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


@SCHEDULES.register("linear")
def linear(final: float = 0.0) -> Callable[[float], float]:
    """A straight line from 1 to `final`."""
    check_range("--schedule", "linear(final)", final, 0.0, 1.0)
    return lambda progress: 1.0 + (final - 1.0) * progress


@SCHEDULES.register("step")
def step(at: tuple = (0.3, 0.6, 0.9), factor: float = 0.1) -> Callable[[float], float]:
    """Multiplied by `factor` at each share of the phase named in `at`; the default is BiT's (arXiv:1912.11370)."""
    at = at if isinstance(at, tuple | list) else (at,)
    if not all(isinstance(a, int | float) and 0 <= a <= 1 for a in at):
        raise UserError(f"--schedule: step(at) takes shares of the phase in [0, 1], such as (0.5, 0.75), got {at!r}.")
    check_range("--schedule", "step(factor)", factor, 0.0, 1.0)
    return lambda progress: factor ** sum(progress >= a for a in at)


@SCHEDULES.register("constant")
def constant() -> Callable[[float], float]:
    """1 throughout."""
    return lambda progress: 1.0


def learning_rate(spec: str, peak: float, total: int, warmup: float) -> Callable[[int], float]:
    """Returns the rate as a function of the step, counted from 0.

    Args:
        spec: of the schedule, such as `cosine` or `step(at=(0.5, 0.75))`.
        peak: the rate at the end of the warm-up.
        total: number of steps, at least 1.
        warmup: share of the steps, in [0, 1), over which the rate rises linearly to its peak.
    """
    if not 0 <= warmup < 1:
        raise UserError(f"--warmup is the share of a phase in [0, 1), got {warmup}.")
    schedule = SCHEDULES.create(spec)
    rising = round(warmup * total)

    def rate(step: int) -> float:
        if step < rising:
            return peak * (step + 1) / (rising + 1)
        return peak * schedule((step - rising) / max(1, total - rising))

    return rate
