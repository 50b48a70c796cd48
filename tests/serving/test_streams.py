"""Files and streams: in order, no more of them taken than needed, and by many threads."""

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from serving_tools import encoded, picture, values

from tf_transfer import serving
from tf_transfer.errors import UserError
from tf_transfer.modalities.image.limits import NO_PICTURE
from tf_transfer.serving import inputs
from tf_transfer.serving.inputs import DAMAGED
from tf_transfer.serving.model import Model


def test_predict_files_answers_each_file_in_order(predictor, samples, tmp_path):
    junk = {"junk.png": b"\x89PNG\r\n\x1a\n junk", "empty.gif": b"", "cut.jpg": None}
    junk["cut.jpg"] = encoded(Image.new("RGB", (64, 64), "red"), "JPEG")[:-200]
    for name, content in junk.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "large.bmp").open("wb") as file:
        file.truncate(inputs.MAX_BYTES + 1)
    names = ["junk.png", "none.png", "", "empty.gif", "cut.jpg", "pipe.png", "large.bmp"]
    files = [samples[0], *(tmp_path / name for name in names), samples[1]]
    seen = []
    answers = list(predictor.predict_files(files, progress=lambda *state: seen.append(state)))
    assert [a.file for a in answers] == [str(f) for f in files]
    reasons = [
        DAMAGED, "No such file or directory", "Is a directory", NO_PICTURE,
        DAMAGED, "not a regular file",
        "more than 1 GiB",
    ]  # fmt: skip
    assert [a.error for a in answers] == ["", *reasons, ""]
    assert seen == [(done, 9, "") for done in range(1, 10)]


def test_a_file_name_that_is_no_utf8(predictor, samples, tmp_path):
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(odd, "wb") as file:
        file.write(samples[0].read_bytes())
    (answer,) = predictor.predict_files([os.fsdecode(odd)])
    assert (os.fsencode(answer.file), answer.error) == (odd, "")


def test_serving_and_the_signature_give_the_same_reasons(run, predictor):
    asked = [
        b"junk",
        b"",
        b"GIF89a",
        encoded(picture(32, 32, 3))[:100],
        encoded(picture(32, 32, 3), "JPEG")[:-300],
        b"\xff\xd8\xff",
    ]
    signature = tf.saved_model.load(str(run / "saved_model/1")).signatures["serve_bytes"]
    told = [status.decode() for status in signature(contents=tf.constant(asked))["status"].numpy()]
    assert [p.error for p in predictor.predict(asked)] == told
    # Exports of before say it so.
    assert DAMAGED == "damaged, or cut short"


# --- streams and threads


def test_a_stream_takes_no_more_than_it_needs(run):
    taken = itertools.count()
    with serving.Predictor(run, batch_size=4) as predictor:
        stream = predictor.stream(picture(8, 8, 3, seed=next(taken)) for _ in itertools.count())
        assert next(taken) == 0, "nothing is taken before it is asked for"
        answers = list(itertools.islice(stream, 10))
    # Three batches of 4 are answered or being answered, two are prepared.
    assert len(answers) == 10 and next(taken) <= 1 + 5 * 4 + 1


def test_the_next_batch_is_read_while_one_is_answered(run, monkeypatch):
    read = threading.Event()

    class Late:
        def __array__(self, dtype=None, copy=None):
            read.set()
            return picture(8, 8, 3)

    with serving.Predictor(run, batch_size=2) as predictor:
        answer, waited = Model.predict, []

        def slow(model, batch):
            waited.append(read.wait(20))
            return answer(model, batch)

        monkeypatch.setattr(Model, "predict", slow)
        assert len(list(predictor.stream([picture(8, 8, 3)] * 2 + [Late()] * 2))) == 4
    assert waited == [True, True]


def test_many_threads_get_the_answers_of_one(predictor, samples):
    def ask(seed):
        random = np.random.default_rng(seed)
        asked = [samples[0], b"junk", picture(8, 8, 3, seed=seed), encoded(picture(20, 20, 3, seed=seed)), "none"] * 9
        random.shuffle(asked)
        return predictor.predict(asked), predictor.features(asked[:5])

    expected = [ask(seed) for seed in range(12)]
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(ask, [*range(12)] * 3))
    for (answers, features), (predictions, embeddings) in zip(found, expected * 3, strict=True):
        assert [(a.file, a.label, a.error) for a in answers] == [(p.file, p.label, p.error) for p in predictions]
        for a, p in zip(answers, predictions, strict=True):
            np.testing.assert_allclose(values(a), values(p), atol=1e-6)
        np.testing.assert_allclose(features, embeddings, rtol=1e-5, atol=1e-6)


def test_closed_it_has_no_threads_and_says_so(run, samples):
    def threads():
        return sum(t.name.startswith("tf_transfer-decode") for t in threading.enumerate())

    before = threads()
    with serving.Predictor(run, batch_size=2) as predictor:
        stream = predictor.stream(itertools.repeat(samples[0]))
        assert next(stream).label and threads() > before
    assert threads() == before
    with pytest.raises(UserError, match="closed"):
        list(stream)
    for ask in (predictor.predict, predictor.stream, predictor.features):
        with pytest.raises(UserError, match="This Predictor is closed; make another"):
            ask([samples[0]])
    predictor.close()
