"""`--xla=auto` in a whole run, as on a GPU: what is compiled on the way trains the same network."""

import numpy as np
import pytest
import tools

from tf_transfer import api
from tf_transfer.machine import xla
from tf_transfer.run.directory import RunDir

OPTIONS = tools.TINY | {"epochs": 7, "batch_size": 8, "feature_store": "off", "patience": 0, "phases": "head,full"}


def losses(folder):
    return [r["train_loss"] for r in RunDir(folder).records("epoch") if r["phase"] == "full"]


@pytest.mark.large
def test_what_is_compiled_on_the_way_trains_the_same_network(tmp_path, monkeypatch):
    api.fine_tune(**OPTIONS, run_dir=tmp_path / "plain", quiet=True)
    monkeypatch.setattr(xla, "resolve_xla", lambda name: xla.AUTO)
    monkeypatch.setattr(xla.Cost, "pays", lambda self, calls, seconds: True)
    api.fine_tune(**OPTIONS, run_dir=tmp_path / "auto", quiet=True)
    decisions = RunDir(tmp_path / "auto").records("xla")
    assert decisions[0]["compiled"] and "training step" in decisions[0]["what"]
    # Rounding grows from step to step, so the first compiled epochs must agree best.
    one, other = losses(tmp_path / "plain"), losses(tmp_path / "auto")
    assert len(one) == len(other) == 7
    np.testing.assert_allclose(other[:4], one[:4], rtol=1e-3)
    np.testing.assert_allclose(other, one, rtol=0.05)


def test_off_and_on_leave_nothing_to_decide(tmp_path):
    api.fine_tune(**OPTIONS | {"phases": "head"}, run_dir=tmp_path / "run", quiet=True, xla="off")
    assert RunDir(tmp_path / "run").records("xla") == []
