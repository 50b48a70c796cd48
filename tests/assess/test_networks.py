"""A candidate is timed by the engine that trains, and is left as it was."""

import numpy as np
import pytest
import tools

from tf_transfer import api
from tf_transfer.assess import networks
from tf_transfer.console import Console, Nowhere
from tf_transfer.session.session import Session


class Time:
    """A second passes between two readings."""

    def __init__(self):
        self.now = 0.0

    def read(self):
        self.now += 1.0
        return self.now


def a_session(folder, **options):
    options = tools.TINY | options | {"run_dir": str(folder / "run")}
    config, run = api.open_run(options, ["assess"])
    return Session(config, frozenset(options), run, Console(Nowhere()))


@pytest.mark.parametrize(("strategy", "replicas"), [("one", 1), ("mirrored", 2)])
def test_seconds_are_those_of_an_example_in_each_replica(tmp_path, strategy, replicas):
    session, names = a_session(tmp_path, strategy=strategy), tuple("0123456789")
    some = session.modality.random(9, session.input_size)
    found = networks.open_network(session, names, (30, 10), some, step=7, now=Time().read)
    assert session.strategy.num_replicas_in_sync == replicas
    # Of seven examples two replicas share six.
    assert found.seconds == pytest.approx(1 / 9) and found.step == pytest.approx(1 / {1: 7, 2: 6}[replicas])
    assert found.start == 1.0


@pytest.mark.parametrize("number", [1, 4])
def test_a_timed_step_leaves_the_network_as_it_was(tmp_path, number):
    """Batch statistics move in it, and weight decay would move the weights at any rate but 0."""
    session = a_session(tmp_path, bn={"full": "train"}, optimizer={"full": "adamw"})
    classifier = session.pretrained(10)
    some = session.modality.random(number, session.input_size)
    before, features = [v.copy() for v in classifier.state_values()], classifier.features(some).numpy()
    plan = session.plan("full", session.facts(30, 10, tuple("0123456789"), classifier))
    taken = networks.trained_step_seconds(session, classifier, some, plan, Time().read)
    assert taken == pytest.approx(1 / number)
    for old, new in zip(before, classifier.state_values(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(classifier.features(some), features)
