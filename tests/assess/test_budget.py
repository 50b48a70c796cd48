"""What there is no time for is left out, by a clock of the test's own."""

import types

import numpy as np
import pytest

from tf_transfer.assess import domain, forecast, study
from tf_transfer.assess.clock import Clock
from tf_transfer.console import Console, Nowhere
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData


class Time:
    """Stands still but for what is said to pass."""

    def __init__(self):
        self.now = 100.0

    def read(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def minute(time):
    return Clock(1.0, Console(Nowhere()), time.read)


def left_out(clock):
    return [o["what"] for o in clock.left_out]


def test_what_fits_is_afforded_and_what_does_not_is_said(time, minute):
    assert minute.affords("a", 60.0) and not minute.affords("b", 61.0) and not minute.affords("c", 30.0, keep=31.0)
    time.now += 60
    assert minute.affords("d", 0.0) and not minute.affords("e", 0.1)
    assert left_out(minute) == ["b", "c", "e"] and minute.left_out[0]["why"] == "it would take about 61 s"


def pretend(clock, each=0.001, **more):
    """A study as far as time is concerned: a picture takes so long in its network."""
    pool = types.SimpleNamespace(seconds=each, start=2.0)
    config = types.SimpleNamespace(
        model=types.SimpleNamespace(backbone="net"), data=types.SimpleNamespace(source_dataset="source")
    )
    session = types.SimpleNamespace(config=config, input_size=8, datasets=types.SimpleNamespace())
    return types.SimpleNamespace(clock=clock, seed=0, pools={None: pool}, session=session, many="pictures", **more)


def test_a_slow_forecast_is_left_out_and_the_others_are_made(time, minute):
    def slow(x, y):
        time.now += 5.0
        return 1.0

    def quick(x, y):
        time.now += 0.01
        return float(x.sum())

    x, y = np.ones((40, 2)), np.arange(40) % 4
    found = forecast.affordable_scores(pretend(minute), None, {"slow": slow, "quick": quick}, x, y, keep=20.0)
    assert set(found) == {"quick"} and left_out(minute) == ["slow of net"]
    # What finding that out took, twice, and no more.
    assert minute.left() > 60 - 10 - 1


class Source:
    """Pictures that take their time to be read."""

    splits = ("train",)

    def __init__(self, time, each, once=0.0):
        self.time, self.each, self.once = time, each, once

    def labels(self, split):
        return np.zeros(2000, np.int32)

    def load(self, split, rows, size):
        self.time.now += self.once + self.each * len(rows)
        return Split(np.zeros((len(rows), 2, 2, 3), np.uint8), np.zeros(len(rows), np.int32), [""] * len(rows))


@pytest.mark.parametrize(
    ("each", "once", "expected"), [(0.0, 0.0, 1000), (0.0, 1.0, 1000), (0.02, 0.0, 128), (1.0, 0.0, None)]
)
def test_as_many_pictures_of_the_source_as_there_is_time_for(time, minute, each, once, expected):
    found = pretend(minute)
    found.session.datasets.open = lambda name: Source(time, each, once)
    pictures = domain.sample(found, "distance to the source", "train", 1000)
    assert (None if pictures is None else len(pictures)) == expected
    assert bool(minute.left_out) == (expected != 1000)
    # Reading the first few tells, and cannot be cut short.
    assert minute.left() >= 60 - max(0.15 * 60, 32 * each + once)


def test_a_source_without_the_split_is_said(time, minute):
    found = pretend(minute)
    found.session.datasets.open = lambda name: Source(time, 0.0)
    assert domain.sample(found, "x", "test", 10) is None and left_out(minute) == ["x"]


def test_distances_are_taken_between_as_many_pictures_as_there_is_time_for(time, minute, monkeypatch):
    def timed(one, other, seed):
        time.now += 0.02 * len(one)

    monkeypatch.setattr(domain, "distances", timed)
    target = np.zeros((1000, 2))
    # 0.8 s for 40 pictures of each of three sets, in 0.3 of 59.2 seconds.
    assert domain.affordable_size(pretend(minute), target, 500, 3) == int(40 * 0.3 * 59.2 / 2.4)
    assert domain.affordable_size(pretend(minute), target, 100, 1) == 100
    time.now += 57
    assert domain.affordable_size(pretend(minute), target, 500, 3) == 0
    assert left_out(minute)[-1] == "distances"


def test_candidates_too_slow_or_too_many_to_be_built_are_left_out(time, minute, monkeypatch):
    seconds = {"own": 0.001, "quick": 0.002, "slow": 0.5, "late": 0.001}
    built = []

    def open_network(opened, class_names, counts, pictures, now):
        name = "own" if opened is session else opened
        built.append(name)
        time.now += 6.0
        return types.SimpleNamespace(seconds=seconds[name], start=6.0)

    monkeypatch.setattr(study, "open_network", open_network)
    monkeypatch.setattr(study, "candidate", lambda model, spec, size: spec)
    session = types.SimpleNamespace(config=types.SimpleNamespace(model=None), input_size=8)
    session.branch = lambda name, model: model
    labels = np.arange(2000) % 4
    pictures = Split(np.zeros((2000, 1, 1, 3), np.uint8), labels, [""] * 2000)
    data = TrainingData(pictures, None, tuple("abcd"), np.ones(4), {"split_digest": "x"})
    found = study.open_networks(session, minute, data, ["quick", "slow", "late"])
    # Two take 12 of the 16 seconds that are for building; the slow one's pass would leave 30 pictures to all.
    assert list(found) == [None, "quick"] and built == ["own", "quick", "slow"]
    assert left_out(minute) == ["the candidate late", "the candidate slow"]
    assert minute.spent["building networks"] == 18.0
