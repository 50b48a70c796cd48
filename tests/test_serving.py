"""Serving: what can be loaded, what can be asked, and what it costs to import."""

import csv
import io
import json
import os
import re

import numpy as np
import pytest
import tools
from PIL import Image

from tf_transfer import serving
from tf_transfer.errors import UserError

FRESH = (
    'HIDDEN = {"keras", "tf_keras"}'
    + tools.HIDE
    + """
from tf_transfer import serving
assert "tensorflow" not in sys.modules
model = serving.load(sys.argv[1])
print([p.label for p in model.predict_files(sys.argv[2:])])
print(sorted(name for name in sys.modules if name.startswith("tf_transfer")))
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="module")
def model(run):
    return serving.load(run)


@pytest.fixture(scope="module")
def samples(run):
    return sorted((run / "samples").glob("*.png"))


def test_a_fresh_process_needs_neither_keras_nor_the_rest_of_the_package(run, samples, model, tmp_path):
    done = tools.python("-c", FRESH, str(run), *map(str, samples[:2]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    labels, modules = done.stdout.splitlines()
    assert labels == str([p.label for p in model.predict_files(samples[:2])])
    assert modules == "['tf_transfer', 'tf_transfer.errors', 'tf_transfer.serving']"


@pytest.mark.parametrize("place", ["", "saved_model", "saved_model/1"])
def test_load_takes_the_run_the_folder_or_the_version(run, model, place):
    images = np.zeros((1, 8, 8, 3), np.uint8)
    assert np.array_equal(serving.load(run / place).predict(images)["logits"], model.predict(images)["logits"])


def test_load_refuses_what_is_no_model(run, tmp_path):
    for place in ("nowhere", ".", str(run / "head")):
        with pytest.raises(UserError, match=r"no saved_model.pb there; run --phase=export first"):
            serving.load(place)
    (tmp_path / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"is no SavedModel that this package exported: [^\n]*$"):
        serving.load(tmp_path)
    import tensorflow as tf

    other = tf.Module()
    other.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec((), tf.float32)])
    tf.saved_model.save(other, str(tmp_path / "other"))
    with pytest.raises(UserError, match="is no SavedModel that this package exported: 'serve"):
        serving.load(tmp_path / "other")


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        [[1, 2], [3]][:1],
    ],
)
def test_predict_refuses_other_types_and_shapes(model, images):
    with pytest.raises(UserError, match=r"images: expected uint8 of shape .*, got \w+ of shape \["):
        model.predict(images)


def test_predict_files_answers_each_file_in_order(model, samples, tmp_path):
    junk = {"junk.png": b"\x89PNG\r\n\x1a\n junk", "empty.gif": b"", "cut.jpg": None}
    whole = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(whole, "JPEG")
    junk["cut.jpg"] = whole.getvalue()[:-200]
    for name, content in junk.items():
        (tmp_path / name).write_bytes(content)
    files = [samples[0], tmp_path / "junk.png", samples[1], tmp_path / "none.png", tmp_path, tmp_path / "empty.gif"]
    files += [tmp_path / "cut.jpg", samples[2]]
    seen = []
    answers = list(model.predict_files(files, batch_size=3, progress=lambda *state: seen.append(state)))
    assert [a.file for a in answers] == [str(f) for f in files]
    assert [bool(a.error) for a in answers] == [False, True, False, True, True, True, True, False]
    assert answers[1].error == answers[5].error == answers[6].error == "no JPEG, PNG, GIF or BMP picture, or damaged"
    assert (answers[3].error, answers[4].error) == ("No such file or directory", "Is a directory")
    assert seen == [(3, 8, ""), (6, 8, ""), (8, 8, "")]
    for answer in (answers[0], answers[2], answers[7]):
        out = model.predict(np.asarray(Image.open(answer.file))[None])
        assert list(answer.probabilities) == list("0123456789")
        assert np.allclose(list(answer.probabilities.values()), out["probabilities"][0], atol=1e-6)
        assert (answer.label, answer.probability) == (out["label"][0], pytest.approx(out["probability"][0], abs=1e-6))
    bad = answers[1]
    assert (bad.label, bad.probability, bad.probabilities) == ("", 0.0, {})


def test_find_images(tmp_path):
    for name in ("a/1.JPG", "a/b/2.png", "a/3.txt", "4.jpeg", "odd[1].bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert serving.find_images("a") == ["a/1.JPG", "a/b/2.png"]
    assert serving.find_images("a/3.txt") == ["a/3.txt"]
    assert serving.find_images("**/*") == ["4.jpeg", "a/1.JPG", "a/b/2.png", "odd[1].bmp"]
    assert serving.find_images("odd[1].bmp") == ["odd[1].bmp"]
    for nothing in ("b", "a/*.gif", "a/b/*.txt"):
        with pytest.raises(UserError, match=re.escape(f"--images={nothing!r}: no picture found")):
            serving.find_images(nothing)


def test_written_forms(tmp_path):
    made = [
        serving.Prediction('a,"b".png', "x\ny", 0.25, {"x\ny": 0.25, "ü": 0.75}),
        serving.Prediction("c.png", "", 0.0, {}, "damaged"),
    ]
    table = io.StringIO(newline="")
    serving.write_predictions(made, table, "csv")
    rows = list(csv.reader(io.StringIO(table.getvalue(), newline="")))
    assert rows == [
        ["file", "label", "probability", "error"],
        ['a,"b".png', "x\ny", "0.250000", ""],
        ["c.png", "", "0.000000", "damaged"],
    ]
    lines = io.StringIO()
    serving.write_predictions(made, lines, "jsonl")
    assert [json.loads(line) for line in lines.getvalue().splitlines()] == [p.__dict__ for p in made]


def test_a_file_name_that_is_no_utf8(model, samples, tmp_path):
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(odd, "wb") as file:
        file.write(samples[0].read_bytes())
    (answer,) = model.predict_files(serving.find_images(str(tmp_path)))
    assert (os.fsencode(answer.file), answer.error) == (odd, "")
