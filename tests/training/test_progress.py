"""Which of two trainings is ahead: the rule by which one training keeps its epochs."""

import pytest

from tf_transfer.evaluation.classification import standard_error
from tf_transfer.training.progress import Progress, challenges


def at(accuracy, loss, examples=100, top=None):
    top = accuracy if top is None else top
    return Progress(kept={"value": accuracy, "loss": loss}, top=top, top_error=standard_error(top, examples))


@pytest.mark.parametrize(
    ("one", "other", "better"),
    [
        # sqrt(0.8 * 0.2 / 100) = 0.04: within it, the lower loss.
        (at(0.80, 0.5), at(0.82, 0.6), True),
        (at(0.80, 0.6), at(0.82, 0.5), False),
        (at(0.82, 0.6), at(0.80, 0.5), False),
        # Further apart, the higher accuracy.
        (at(0.90, 0.9), at(0.80, 0.1), True),
        (at(0.80, 0.1), at(0.90, 0.9), False),
        # More examples tell smaller differences.
        (at(0.80, 0.5, 10_000), at(0.82, 0.6, 10_000), False),
        # Of equal ones the first stays.
        (at(0.80, 0.5), at(0.80, 0.5), False),
        # The best value counts, also of an epoch that was not kept.
        (at(0.80, 0.5, top=0.90), at(0.82, 0.6), True),
    ],
)
def test_challenges(one, other, better):
    assert challenges(one, other) is better
