"""The place of a process among the workers, from the environment."""

import json

import pytest

from tf_transfer.errors import UserError
from tf_transfer.machine import cluster
from tf_transfer.machine.cluster import Cluster


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def tf_config(monkeypatch, jobs, kind="worker", index=0):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}}))


@pytest.mark.parametrize(
    ("jobs", "kind", "index", "place"),
    [
        ({"worker": ["a:1", "b:1", "c:1"]}, "worker", 0, Cluster(0, 3)),
        ({"worker": ["a:1", "b:1", "c:1"]}, "worker", 2, Cluster(2, 3)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "chief", 0, Cluster(0, 2)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "worker", 0, Cluster(1, 2)),
        ({"worker": ["a:1"]}, "worker", 0, Cluster(0, 1)),
    ],
)
def test_tf_config_says_who_this_is(monkeypatch, jobs, kind, index, place):
    tf_config(monkeypatch, jobs, kind, index)
    assert cluster.find("multiworker") == place and place.chief == (place.index == 0)
    # `auto` takes several workers, `one` and `mirrored` none.
    assert cluster.find("auto") == (place if place.workers > 1 else Cluster())
    assert cluster.find("mirrored") == cluster.find("one") == Cluster()
    assert cluster.is_multiworker("multiworker") and cluster.is_multiworker("auto") == (place.workers > 1)


def test_slurm_says_who_this_is(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert cluster.find("multiworker") == Cluster(1, 4) and cluster.find("auto") == Cluster()
    # A step may have fewer tasks than its job.
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert cluster.find("multiworker") == Cluster(1, 2)


def test_nobody_says_it():
    with pytest.raises(UserError, match="--strategy=multiworker: set TF_CONFIG for every worker, such as"):
        cluster.find("multiworker")
    assert cluster.find("auto") == Cluster() and not cluster.is_multiworker("auto")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "set TF_CONFIG"),
        ("nonsense", "no JSON"),
        ("[]", "missing or of another kind"),
        ("{}", "missing or of another kind"),
        ('{"cluster": {"worker": ["a:1"]}}', "missing or of another kind"),
        ('{"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}', "missing or of another kind"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "worker 1, but there are .* 1 work",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}', "this process is worker -1"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "'a' is not HOST:PORT"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}', "not ps"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}', "this process is evaluator 0"),
    ],
)
def test_a_tf_config_that_does_not_say_it(monkeypatch, text, told):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=told) as error:
        cluster.find("multiworker")
    assert "\n" not in str(error.value)
