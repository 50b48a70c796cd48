"""Which kind of training an assessment prefers, on results that are made for it."""

import types

import numpy as np
import pytest

from tf_transfer.assess import outcome
from tf_transfer.phases.catalogue import FULL, HEAD


def study(**right):
    """A study whose kinds are right on so many of 100 validation examples, a number a seed."""

    def correct(kind, point, split=None):
        assert point == "top" and split in (None, "validation")
        return None if kind not in right else np.array([np.arange(100) < n for n in right[kind]])

    return types.SimpleNamespace(top="top", correct=correct)


@pytest.mark.parametrize(
    ("head", "full", "preferred"),
    [
        ([70], [90], FULL),
        ([80], [81], HEAD),
        ([90], [80], HEAD),
        # The seeds of the one are as a whole as good as those of the other.
        ([80], [60, 80, 100], HEAD),
        ([80], [88, 90, 92], FULL),
    ],
)
def test_the_kind_that_would_be_exported_is_preferred(head, full, preferred):
    assert outcome.preferred(study(head=head, full=full)) == outcome.best(study(head=head, full=full)) == preferred


def test_one_kind_alone_is_no_preference():
    assert outcome.preferred(study(head=[80])) is None and outcome.best(study(head=[80])) == HEAD
    assert outcome.best(study(full=[80])) == FULL
