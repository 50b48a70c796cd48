"""Serving: what can be loaded, what can be asked and by how many at once, and what it costs to import."""

import io
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tools
from PIL import Image

from tf_transfer import serving
from tf_transfer.data.limits import NO_PICTURE
from tf_transfer.errors import UserError
from tf_transfer.export import rows
from tf_transfer.serving import model as serving_model
from tf_transfer.serving import pictures

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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="module")
def predictor(run):
    with serving.Predictor(run) as made:
        yield made


@pytest.fixture(scope="module")
def bare(run):
    """What TensorFlow alone says of one picture."""
    loaded = tf.saved_model.load(str(run / "saved_model/1"))

    def ask(image, output="probabilities", signature="serving_default"):
        return loaded.signatures[signature](images=tf.constant(image[None]))[output].numpy()[0]

    return ask


@pytest.fixture(scope="module")
def samples(run):
    return sorted((run / "samples").glob("*.png"))


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """A model as an older version exported it: neither `decode` nor `features`, and a bad file fails its batch."""

    class Older(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
        def images(self, images):
            means = tf.reduce_mean(tf.cast(images, tf.float32), (1, 2)) / 50
            names = tf.constant(["red", "green", "blü"])
            return {
                "label": tf.gather(names, tf.argmax(means, 1)),
                "logits": means,
                "probabilities": tf.nn.softmax(means),
                "class_names": tf.tile(names[None], (tf.shape(means)[0], 1)),
            }

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
        def contents(self, contents):
            def decode(content):
                return tf.io.decode_image(content, 3, expand_animations=False)[:8, :8]

            return self.images(tf.map_fn(decode, contents, fn_output_signature=tf.uint8))

    made, place = Older(), tmp_path_factory.mktemp("older")
    tf.saved_model.save(
        made, str(place), {"serving_default": made.images, "serve_bytes": made.contents.get_concrete_function()}
    )
    return place


def picture(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, form="PNG"):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, form)
    return stream.getvalue()


def values(prediction):
    return list(prediction.probabilities.values())


def test_a_fresh_process_needs_neither_keras_nor_the_rest_of_the_package(run, samples, predictor, tmp_path):
    done = tools.python("-c", FRESH, str(run), *map(str, samples[:2]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    labels, modules = done.stdout.splitlines()
    assert labels == str([p.label for p in predictor.predict_files(samples[:2])])
    own = [f"tf_transfer.serving{name}" for name in ("", ".model", ".pictures", ".predictor")]
    assert modules == str(["tf_transfer", "tf_transfer.errors", *own])


# --- loading


@pytest.mark.parametrize("place", ["", "saved_model", "saved_model/1"])
def test_load_takes_the_run_the_folder_or_the_version(run, predictor, place):
    with serving.load(run / place, batch_size=4) as found:
        assert (found.path, found.batch_size) == (run / "saved_model/1", 4)
        assert found.predict(picture(8, 8, 3)) == predictor.predict(picture(8, 8, 3))


def test_load_refuses_what_is_no_model(run, tmp_path):
    for place in ("nowhere", ".", str(run / "head")):
        with pytest.raises(UserError, match=r"no saved_model.pb there; run --phase=export first"):
            serving.load(place)
    (tmp_path / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"is no SavedModel that this package exported: [^\n]*$"):
        serving.load(tmp_path)
    other = tf.Module()
    other.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec((), tf.float32)])
    tf.saved_model.save(other, str(tmp_path / "other"))
    with pytest.raises(UserError, match="is no SavedModel that this package exported: 'serve"):
        serving.load(tmp_path / "other")
    for option in ({"batch_size": 0}, {"top": 0}, {"top": "5"}):
        with pytest.raises(UserError, match=r"^(batch_size|top)=\S+ expected a whole number from 1 up"):
            serving.load(run, **option)


def test_names_and_card(run, predictor):
    assert predictor.class_names == tuple("0123456789")
    assert predictor.card == json.loads((run / "saved_model/1/assets/model_card.json").read_text())
    assert predictor.card["model"]["classes"] == list(predictor.class_names)


# --- what can be asked


def test_a_list_may_mix_kinds_and_sizes_and_each_row_stands_for_itself(predictor, bare, samples, tmp_path):
    colours, grey = picture(30, 20, 3), picture(17, 40)
    on_disk = np.asarray(Image.open(samples[0]).convert("RGB"))
    (tmp_path / "junk.png").write_bytes(b"junk")
    asked = [
        (colours, colours),
        (grey, np.stack([grey] * 3, -1)),
        (None, "expected an array, a file or bytes, got NoneType"),
        (grey[..., None], np.stack([grey] * 3, -1)),
        (
            colours.astype(np.float32),
            "expected uint8 of shape [H, W, 3], [H, W, 1] or [H, W] with no side 0, got float32",
        ),
        (Image.fromarray(colours), colours),
        (Image.fromarray(grey), np.stack([grey] * 3, -1)),
        (tf.constant(colours), colours),
        (encoded(colours), colours),
        (bytearray(encoded(grey)), np.stack([grey] * 3, -1)),
        (b"junk", NO_PICTURE),
        (memoryview(encoded(colours)), colours),
        (samples[0], on_disk),
        (picture(2, 8, 8, 3), "got uint8 of shape [2, 8, 8, 3]"),
        (picture(8, 8, 4), "got uint8 of shape [8, 8, 4]"),
        (picture(0, 8, 3), "got uint8 of shape [0, 8, 3]"),
        (str(samples[0]), on_disk),
        (tmp_path / "junk.png", NO_PICTURE),
        (encoded(colours)[:-200], rows.DAMAGED),
        ("no\0file", "cannot be read"),
    ]
    answers = predictor.predict([given for given, _ in asked])
    assert len(answers) == len(asked)
    for (given, expected), answer in zip(asked, answers, strict=True):
        if isinstance(expected, str):
            assert expected in answer.error and (answer.label, values(answer)) == ("", [])
        else:
            assert not answer.error
            np.testing.assert_allclose(values(answer), bare(expected), atol=1e-5)
        assert answer.file == (str(given) if isinstance(given, (str, os.PathLike)) else "")
    # Neither the batch nor the company changes an answer.
    alone = [predictor.predict([given])[0] for given, _ in asked]
    for one, other in zip(alone, answers, strict=True):
        assert (one.label, one.error) == (other.label, other.error)
        np.testing.assert_allclose(values(one), values(other), atol=1e-6)


def test_a_single_picture_a_stack_or_an_array_of_names(predictor, bare, samples):
    stack = picture(70, 9, 12, 3)
    answers = predictor.predict(stack)
    np.testing.assert_allclose([values(a) for a in answers], [bare(image) for image in stack], atol=1e-5)
    assert [a.label for a in answers] == [bare(image, "label").decode() for image in stack]
    assert [a.probability for a in answers] == [max(values(a)) for a in answers]
    for one in (stack[0], Image.fromarray(stack[0]), encoded(stack[0])):
        (answer,) = predictor.predict(one)
        np.testing.assert_allclose(values(answer), bare(stack[0]), atol=1e-5)
    assert len(predictor.predict(picture(5, 9, 12, 1))) == 5
    assert [p.file for p in predictor.predict(np.array([str(s) for s in samples]))] == [str(s) for s in samples]
    assert predictor.predict(str(samples[0]))[0].file == str(samples[0])
    assert predictor.predict([]) == [] == predictor.predict(stack[:0])


@pytest.mark.parametrize("mode", ["1", "P", "LA", "PA", "RGBA", "CMYK", "transparent P", "transparent RGB"])
def test_a_pillow_image_is_taken_as_its_file(predictor, mode):
    image, mode = Image.fromarray(picture(24, 24, 4), "RGBA"), mode.rpartition(" ")
    image = image.convert(mode[2]) if "A" in mode[2] else image.convert("RGB").convert(mode[2])
    if mode[0]:
        image.info["transparency"] = image.getpixel((0, 0))
        if mode[2] == "RGB":
            image.paste(image.getpixel((0, 0)), (0, 0, 12, 24))
    # PNG has neither CMYK nor a palette beside an alpha channel.
    file = encoded(image.convert({"CMYK": "RGB", "PA": "RGBA"}.get(image.mode, image.mode)))
    given, from_file = predictor.predict([image, file])
    assert not given.error and not from_file.error
    np.testing.assert_allclose(values(given), values(from_file), atol=1e-5)


def test_pillow_images_that_cannot_be_taken(predictor):
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))
    cut = Image.open(io.BytesIO(encoded(picture(64, 64, 3))[:-500]))
    deep, cut = predictor.predict([deep, cut])
    assert "got uint16 of shape [8, 8]" in deep.error and "truncated" in cut.error


@pytest.mark.parametrize(
    "images", [np.zeros((8, 8, 3)), picture(1, 8, 8, 2), picture(1, 0, 8, 3), np.zeros(3), 7, None, {"a": 1}]
)
def test_predict_refuses_what_is_no_pictures_at_all(predictor, images):
    for ask in (predictor.predict, predictor.stream, predictor.features):
        with pytest.raises(UserError, match=r"^images: expected [^\n]+, got \w+"):
            ask(images)


def test_top(run, predictor):
    image = picture(24, 24, 3)
    (full,) = predictor.predict(image)
    ordered = sorted(full.probabilities.items(), key=lambda item: -item[1])
    for top in (1, 3, 99):
        with serving.Predictor(run, top=top) as some:
            (answer,) = some.predict(image)
        assert list(answer.probabilities.items()) == ordered[:top]
        assert (answer.label, answer.probability) == ordered[0]


def test_features(predictor, bare, older):
    asked = [picture(24, 24, 3), b"junk", encoded(picture(30, 30, 3, seed=1))]
    found = predictor.features(asked)
    for row, image in ((0, asked[0]), (2, picture(30, 30, 3, seed=1))):
        np.testing.assert_allclose(found[row], bare(image, "features", "features"), rtol=1e-5, atol=1e-6)
    assert np.isnan(found[1]).all() and found.dtype == np.float32
    assert predictor.features([]).shape == (0, found.shape[1])
    with serving.load(older) as model, pytest.raises(UserError, match="no signature features; export the model again"):
        model.features(asked)


def test_a_model_of_an_older_version(older):
    reds = [np.full((8, 8, 3), (200, i, 3), np.uint8) for i in range(5)]
    asked = [encoded(reds[0]), b"junk", reds[1][:6], encoded(reds[2], "BMP"), encoded(reds[3])[:40], None]
    with serving.load(older) as model:
        answers = model.predict(asked)
        assert (model.class_names, model.card) == (("red", "green", "blü"), {})
    assert [a.label for a in answers] == ["red", "", "red", "red", "", ""]
    assert answers[1].error == answers[4].error == serving_model.DAMAGED and "NoneType" in answers[5].error
    expected = np.exp(reds[2][0, 0] / 50) / np.exp(reds[2][0, 0] / 50).sum()
    np.testing.assert_allclose(values(answers[3]), expected, rtol=1e-4)


# --- files


def test_predict_files_answers_each_file_in_order(predictor, samples, tmp_path):
    junk = {"junk.png": b"\x89PNG\r\n\x1a\n junk", "empty.gif": b"", "cut.jpg": None}
    junk["cut.jpg"] = encoded(Image.new("RGB", (64, 64), "red"), "JPEG")[:-200]
    for name, content in junk.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "large.bmp").open("wb") as file:
        file.truncate(pictures.MAX_BYTES + 1)
    names = ["junk.png", "none.png", "", "empty.gif", "cut.jpg", "pipe.png", "large.bmp"]
    files = [samples[0], *(tmp_path / name for name in names), samples[1]]
    seen = []
    answers = list(predictor.predict_files(files, progress=lambda *state: seen.append(state)))
    assert [a.file for a in answers] == [str(f) for f in files]
    reasons = [
        rows.DAMAGED, "No such file or directory", "Is a directory", NO_PICTURE, rows.DAMAGED, "not a regular file",
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
    assert serving_model.DAMAGED == rows.DAMAGED


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
        answer, waited = predictor._model.predict, []

        def slow(batch):
            waited.append(read.wait(20))
            return answer(batch)

        monkeypatch.setattr(predictor._model, "predict", slow)
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
