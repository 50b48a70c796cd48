import math

import numpy as np
import pytest

from tf_transfer.errors import UserError
from tf_transfer.training.schedules import SCHEDULES, learning_rate

EIGHTHS = np.arange(9) / 8


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("cosine", (1 + np.cos(math.pi * EIGHTHS)) / 2),
        ("cosine(0.1)", 0.1 + 0.9 * (1 + np.cos(math.pi * EIGHTHS)) / 2),
        ("linear", 1 - EIGHTHS),
        ("linear(final=0.2)", 1 - 0.8 * EIGHTHS),
        ("step", [1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001]),
        ("step(at=(0.5, 0.75), factor=0.5)", [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]),
        ("step(0.5)", [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ("constant", np.ones(9)),
    ],
)
def test_schedules_follow_their_formulas(spec, expected):
    np.testing.assert_allclose([SCHEDULES.create(spec)(p) for p in EIGHTHS], expected, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule_starts_at_the_peak_and_never_rises(name):
    values = [SCHEDULES.create(name)(p) for p in np.linspace(0, 1, 101)]
    assert values[0] == 1 and min(values) >= 0
    assert (np.diff(values) <= 1e-12).all()


def test_rate_rises_linearly_and_then_follows_the_schedule():
    rate = learning_rate("linear", 0.5, 10, 0.4)
    rising = [0.5 * (step + 1) / 5 for step in range(4)]
    falling = [0.5 * (1 - step / 6) for step in range(6)]
    np.testing.assert_allclose([rate(step) for step in range(10)], rising + falling)


@pytest.mark.parametrize("total", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 0.99])
def test_every_step_has_a_positive_rate_up_to_the_peak(total, warmup):
    rate = learning_rate("cosine", 3.0, total, warmup)
    rates = [rate(step) for step in range(total)]
    assert min(rates) > 0 and max(rates) <= 3.0
    rising = round(warmup * total)
    assert rising == total or rates[rising] == 3.0
    assert (np.diff(rates[: rising + 1]) > 0).all() and (np.diff(rates[rising:]) < 0).all()


@pytest.mark.parametrize("warmup", [-0.1, 1.0, math.nan])
def test_warmup_is_a_share_of_the_phase(warmup):
    with pytest.raises(UserError, match=r"--warmup is the share of a phase in \[0, 1\), got"):
        learning_rate("cosine", 1.0, 10, warmup)


def test_an_unknown_schedule_lists_the_known_ones():
    with pytest.raises(UserError, match=r"Unknown --schedule 'cosin'. Did you mean 'cosine'\? Known: cosine, constant"):
        learning_rate("cosin", 1.0, 10, 0.0)
