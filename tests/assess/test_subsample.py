"""How many pictures there is time for."""

import numpy as np

from tf_transfer.assess import subsample
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData


def split(n, classes=4):
    return Split(
        np.arange(n * 3, dtype=np.uint8).reshape(n, 1, 1, 3), np.arange(n) % classes, [str(i) for i in range(n)]
    )


def test_with_time_for_all_nothing_is_left_out():
    data = TrainingData(split(400), split(40), tuple("abcd"), np.ones(4), {"split_digest": "x"})
    assert subsample.affordable(data, 0.01, 40.0, "none", 0) is data
    assert subsample.measurable(data.train, 0.001, 300.0, 0) is data.train


def test_with_less_the_same_share_of_every_class_stays():
    data = TrainingData(split(4000), split(400), tuple("abcd"), np.ones(4), {"split_digest": "x"})
    # Two views of 4,000 and 400 in 84 seconds, of which a quarter of 84 is for features.
    found = subsample.affordable(data, 0.01, 84.0, "balanced", 0)
    assert np.bincount(found.train.labels).tolist() == [250] * 4 and len(found.validation) == 100
    assert found.facts["split_digest"] != "x" and found.class_names == data.class_names
    again = subsample.affordable(data, 0.01, 84.0, "balanced", 0)
    assert again.facts == found.facts and again.train.names == found.train.names
    assert subsample.affordable(data, 0.01, 84.0, "balanced", 1).train.names != found.train.names
    assert len(subsample.measurable(data.train, 0.01, 300.0, 0)) == 120
    assert len(subsample.affordable(data, 10.0, 1.0, "none", 0).train) == 100


def test_a_rare_class_keeps_two():
    labels = np.array([0] * 1000 + [1] * 2 + [2])
    assert np.bincount(labels[subsample.stratified(labels, 0.1, 0)]).tolist() == [100, 2, 1]
