"""Several hosts, as real processes on loopback."""

import json
import os
import time

import numpy as np
import pytest
import tools

from benchmarks import crash, distributed

BASE = (*distributed.BASE, "--weights=random", "--learning_rate=full:0.002")
FLAGS = (*BASE, "--optimizer=sgd", "--feature_views=0", "--epochs=full:3,head:1", "--ema=0.9",
         "--clip_norm=0.5", "--dropout=0.2", "--augment=flip,crop", "--checkpoint_every=2")  # fmt: skip


@pytest.mark.large
def test_a_lost_worker_ends_the_other_and_all_go_on_as_one_device_would(tmp_path):
    alone, folder = tmp_path / "one", tmp_path / "run"
    distributed.finish(distributed.replicas(1, *FLAGS, f"--run_dir={alone}"))
    started = distributed.workers(2, *FLAGS, f"--run_dir={folder}", "--worker_timeout=20")
    crash.wait_for(folder, "checkpoints/full/step-*", *started)
    started[1].kill()
    begun = time.monotonic()
    _, error = started[0].communicate(timeout=120)
    assert time.monotonic() - begun < 60
    assert started[0].returncode == 3, error
    assert "error: a worker no longer answers" in error and "Start all of them again with the same command" in error
    started[1].communicate()
    distributed.finish(distributed.workers(2, *FLAGS, f"--run_dir={folder}"))
    found = distributed.difference(alone, folder)
    # After one step of head and twelve of full: each is right to 1e-6, and what is left grows from step to step.
    assert found["head"] < 1e-6 and max(found.values()) < 1e-4, found


@pytest.mark.large
def test_workers_choose_between_two_trainings_as_one_device_does(tmp_path):
    flags = [*distributed.BASE, "--phase=source,head,full", "--source_dataset=rendered_digits(n=240)"]
    flags += ["--weights=source", "--epochs=source:1,full:5"]
    distributed.finish(distributed.replicas(1, *flags, f"--run_dir={tmp_path / 'one'}"))
    distributed.finish(distributed.workers(2, *flags, f"--run_dir={tmp_path / 'two'}"))
    one, two = (json.loads((tmp_path / name / "full/done.json").read_text()) for name in ("one", "two"))
    assert one["race"]["chosen"] == two["race"]["chosen"]
    # The weights of five epochs are those of one device up to the rounding that grows from step to step.
    assert one["validation_loss"] == pytest.approx(two["validation_loss"], rel=1e-2)


@pytest.mark.large
def test_workers_that_slurm_started_solve_the_head_of_one(tmp_path):
    """On features that the workers share."""
    flags = [*BASE, "--phase=head,evaluate"]
    distributed.finish(distributed.replicas(1, *flags, f"--run_dir={tmp_path / 'one'}"))
    distributed.finish(distributed.workers(2, *flags, f"--run_dir={tmp_path / 'two'}", slurm=True))
    logits = [np.load(tmp_path / name / "evaluate/predictions.npz")["head"] for name in ("one", "two")]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-2)


def test_a_module_that_computes_when_it_is_imported_finds_the_workers_connected(tmp_path):
    (tmp_path / "computes.py").write_text("import tensorflow as tf\n\nTWO = tf.constant(1) + 1\n")
    cluster = {"worker": [f"127.0.0.1:{port}" for port in distributed.ports(1)]}
    told = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})}
    told["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    options = tools.TINY | {"strategy": "multiworker", "import": "computes", "feature_store": "off", "run_dir": "run"}
    done = tools.run_py("--phase=head", *tools.flags(**options), cwd=tmp_path, **told)
    assert done.returncode == 0 and (tmp_path / "run/head/done.json").exists(), done
    assert done.stderr == ""
