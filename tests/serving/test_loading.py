"""What can be loaded, and what it costs to import."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tools
from serving_tools import encoded, picture, values

from tf_transfer import serving
from tf_transfer.errors import UserError
from tf_transfer.serving.inputs import DAMAGED

FRESH = (
    'HIDDEN = {"keras", "tf_keras", "PIL", "pyarrow"}'
    + tools.HIDE
    + """
from tf_transfer import serving
assert "tensorflow" not in sys.modules
with serving.load(sys.argv[1]) as model:
    print([p.label for p in model.predict_files(sys.argv[2:])])
print(sorted(name for name in sys.modules if name.startswith("tf_transfer")))
"""
)


def test_a_fresh_process_needs_neither_keras_nor_the_rest_of_the_package(run, samples, predictor, tmp_path):
    done = tools.python("-c", FRESH, str(run), *map(str, samples[:2]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    labels, modules = done.stdout.splitlines()
    assert labels == str([p.label for p in predictor.predict_files(samples[:2])])
    own = [
        f"tf_transfer.serving{name}"
        for name in ("", ".conversion", ".inputs", ".model", ".pictures", ".predictor", ".saved_model", ".signatures")
    ]
    assert modules == str(["tf_transfer", "tf_transfer.errors", *own])


# --- loading


@pytest.mark.parametrize("place", ["", "saved_model", "saved_model/1"])
def test_load_takes_the_run_the_folder_or_the_version(run, predictor, place):
    with serving.load(run / place, batch_size=4) as found:
        assert (found.path, found.batch_size) == (run / "saved_model/1", 4)
        assert found.predict(picture(8, 8, 3)) == predictor.predict(picture(8, 8, 3))


def test_load_refuses_what_is_no_model(run, tmp_path):
    for place in ("nowhere", ".", str(run / "head")):
        with pytest.raises(UserError, match="; run --phase=export first"):
            serving.load(place)
    (tmp_path / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"^--saved_model='[^']*' cannot be loaded: [^\n]*$"):
        serving.load(tmp_path)
    other = tf.Module()
    other.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec((), tf.float32)])
    tf.saved_model.save(other, str(tmp_path / "other"))
    with pytest.raises(UserError, match="is no SavedModel that this package exported: it has no signature serve_bytes"):
        serving.load(tmp_path / "other")
    for option in ({"batch_size": 0}, {"top": 0}, {"top": "5"}):
        with pytest.raises(UserError, match=r"^(batch_size|top)=\S+ expected a whole number from 1 up"):
            serving.load(run, **option)


def test_names_and_card(run, predictor):
    assert predictor.class_names == tuple("0123456789")
    assert predictor.card == json.loads((run / "saved_model/1/assets/model_card.json").read_text())
    assert predictor.card["model"]["classes"] == list(predictor.class_names)


# --- what can be asked


def test_a_model_of_an_older_version(older):
    reds = [np.full((8, 8, 3), (200, i, 3), np.uint8) for i in range(5)]
    asked = [encoded(reds[0]), b"junk", reds[1][:6], encoded(reds[2], "BMP"), encoded(reds[3])[:40], None]
    with serving.load(older) as model:
        answers = model.predict(asked)
        assert (model.class_names, model.card) == (("red", "green", "blü"), {})
    assert [a.label for a in answers] == ["red", "", "red", "red", "", ""]
    assert answers[1].error == answers[4].error == DAMAGED and "NoneType" in answers[5].error
    expected = np.exp(reds[2][0, 0] / 50) / np.exp(reds[2][0, 0] / 50).sum()
    np.testing.assert_allclose(values(answers[3]), expected, rtol=1e-4)


# --- files
