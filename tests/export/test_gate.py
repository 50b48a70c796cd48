"""The gate: what an artefact says in a process of its own, against what was measured."""

import os
import re
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from tf_transfer.errors import UserError
from tf_transfer.export import gate, runners, saved_model
from tf_transfer.machine import signals
from tf_transfer.modalities import base


def answered(logits, **facts):
    return gate.Answers({"logits": logits}, facts)


@pytest.fixture(scope="module")
def written(classifier, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate") / "1"
    saved_model.write(classifier, base.find("image"), names, folder, 2.0)
    return folder


def test_an_artefact_is_run_by_itself(classifier, names, written, pictures):
    images = pictures(70, 24, 24, 3)
    found = gate.answers(written, images, latency=(1, 3), sample=base.find("image").probe)
    logits = classifier.logits(images).numpy()
    assert np.allclose(found.logits, logits, atol=1e-4)
    assert found.facts["class_names"] == list(names) and found.facts["shape"] == [None] * 3
    assert found.facts["bytes"]["rows_independent"] and found.facts["bytes"]["max_probability_difference"] <= 1e-6
    assert set(found.facts["latency"]) == {"1", "3"}
    assert all(0 < t["low"] <= t["value"] <= t["high"] for t in found.facts["latency"].values())
    result = gate.compare(found, logits, gate.TOLERANCE["float32"], 2.0)
    assert result["n"] == 70 and result["argmax_agreement"] == 1.0 and result["max_probability_difference"] <= 1e-5
    with pytest.raises(UserError, match="differs from the evaluated one"):
        gate.compare(found, logits, gate.TOLERANCE["float32"], 2.1)


def test_what_cannot_be_run_is_told_in_a_line(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"cannot be run in a process of its own: [^\n]+$"):
        gate.answers(tmp_path, np.zeros((1, 8, 8, 3), np.uint8))


def test_a_signal_ends_it_at_once(tmp_path, monkeypatch):
    """Also while the other process reads nothing of what it is fed."""
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(runners, "__file__", str(tmp_path / "slow.py"))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    begun = time.monotonic()
    with pytest.raises(signals.Stopped), signals.handled():
        timer.start()
        gate.answers(tmp_path, np.zeros((40, 224, 224, 3), np.uint8))
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("seed", range(3))
def test_the_difference_is_measured(seed):
    logits = np.random.default_rng(seed).normal(size=(50, 6)).astype(np.float32)
    other = logits.copy()
    other[41] = logits[41][::-1]
    difference = np.abs(softmax(other, 1) - softmax(logits, 1)).max()
    same = (other.argmax(1) == logits.argmax(1)).mean()
    with pytest.raises(UserError, match=re.escape(f"by up to {difference:.3g} in probability")) as told:
        gate.compare(answered(other), logits, gate.TOLERANCE["float32"])
    assert f"on {same:.2%} of 50 examples" in str(told.value)
    lenient = gate.compare(answered(other), logits, gate.Tolerance(None, 0.9))
    assert (lenient["differing"], lenient["argmax_agreement"]) == (1, same)
    with pytest.raises(UserError, match="nothing was exported"):
        gate.compare(answered(np.full_like(logits, np.nan)), logits, gate.Tolerance(None, 0.9))
    with pytest.raises(UserError, match=r"answers \[50, 5\], expected \[50, 6\]"):
        gate.compare(answered(logits[:, :5]), logits, gate.TOLERANCE["float32"])


def test_a_tie_may_go_either_way_and_nothing_else():
    logits = np.array([[1.0, 1.0 - 1e-6, -3.0], [0.0, 1.0, 2.0]], np.float32)
    other = logits + np.array([[-1e-6, 1e-6, 0.0], [0.0, 0.0, 0.0]], np.float32)
    result = gate.compare(answered(other), logits, gate.TOLERANCE["float32"])
    assert (result["argmax_agreement"], result["differing"]) == (0.5, 0)
    apart = logits + np.array([[-0.1, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    with pytest.raises(UserError):
        gate.compare(answered(apart), logits, gate.Tolerance(1e-5))


def foreign(folder, function, spec):
    module = tf.Module()
    module.f = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.f)
    return folder


def test_other_peoples_models(tmp_path, pictures):
    """One input of any name and type, one output that is taken for what its values look like."""
    images = pictures(5, 8, 8, 3)
    spec = tf.TensorSpec((None, 8, 8, 3), tf.float32, "pixel_values")
    means = images.astype(np.float32).mean((1, 2))

    def probabilities(pixel_values):
        return {"scores": tf.nn.softmax(tf.reduce_mean(pixel_values, (1, 2)) / 50)}

    found = gate.answers(foreign(tmp_path / "a", probabilities, spec), images)
    assert np.allclose(softmax(found.logits, 1), softmax(means / 50, 1), atol=1e-6)
    assert gate.probe(tmp_path / "a") == {"class_names": [], "shape": [8, 8, 3]}
    logits = foreign(tmp_path / "b", lambda pixel_values: tf.reduce_mean(pixel_values, (1, 2)), spec)
    assert np.allclose(gate.answers(logits, images).arrays["logits"], means, atol=1e-3)
    whole = foreign(tmp_path / "c", lambda x: {"y": tf.reshape(x, (1, 1))}, tf.TensorSpec((), tf.float32, "x"))
    with pytest.raises(UserError, match=r"serving_default takes .*, expected examples \[N, \.\.\.\]"):
        gate.probe(whole)


def test_rows_of_floats_and_strings_arrive_as_they_are(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    path = foreign(tmp_path / "a", lambda x: {"logits": x * 2}, tf.TensorSpec((None, 5), tf.float32, "rows"))
    assert np.array_equal(gate.answers(path, rows, latency=(3,)).arrays["logits"], rows * 2)
    texts = np.array([b"a", b"", "\N{GREEK SMALL LETTER BETA}".encode(), b"long " * 9] * 20, object)

    def lengths(texts):
        return {"logits": tf.cast(tf.strings.length(texts)[:, None], tf.float32) * [[1.0, -1.0]]}

    found = gate.answers(foreign(tmp_path / "b", lengths, tf.TensorSpec((None,), tf.string, "texts")), texts)
    assert found.arrays["logits"][:, 0].tolist() == [len(text) for text in texts]


@pytest.mark.parametrize("count", [33, 65])
def test_probabilities_in_steps_are_probabilities_in_every_batch(tmp_path, pictures, count):
    """As 8 bits hold them; some add up to 1, others nearly, and the last batch is a single one."""

    def rounded(pixel_values):
        return tf.round(tf.nn.softmax(tf.reduce_mean(pixel_values, (1, 2)) / 9) * 256) / 256

    images = pictures(count, 8, 8, 3)
    path = foreign(tmp_path / "a", rounded, tf.TensorSpec((None, 8, 8, 3), tf.float32, "pixel_values"))
    values = rounded(images.astype(np.float32)).numpy()
    assert {0.0} < set(np.abs(values.sum(1) - 1))
    assert np.array_equal(gate.answers(path, images).arrays["probabilities"], values)


def test_ambiguous_outputs_are_refused():
    values = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"expected one output \[N, C\], got a, b"):
        runners.named({"a": values, "b": values})
    assert set(runners.named({"logits": values, "b": values})) == {"logits"}
