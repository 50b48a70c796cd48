"""What a predictor can be asked, and that each row stands for itself."""

import io
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from serving_tools import encoded, picture, values

from tf_transfer import serving
from tf_transfer.errors import UserError
from tf_transfer.modalities.image.limits import NO_PICTURE
from tf_transfer.serving.inputs import DAMAGED


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
        (encoded(colours)[:-200], DAMAGED),
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


def test_what_the_model_itself_refuses_harms_no_other(tmp_path):
    """Rows of another length than the three that the network takes, which its signature leaves open."""

    class Rows(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32)])
        def rows(self, rows):
            logits = rows @ tf.eye(3)
            count = tf.shape(rows)[0]
            answer = {"logits": logits, "probabilities": tf.nn.softmax(logits)}
            return answer | {"class_names": tf.tile(tf.constant([["a", "b", "c"]]), (count, 1))}

    module = Rows()
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.rows.get_concrete_function()})
    (tmp_path / "assets").mkdir(exist_ok=True)
    (tmp_path / "assets/model_card.json").write_text('{"modality": {"one": "row", "many": "rows", "endings": []}}')
    with serving.load(tmp_path) as model:
        good, short, whole, double = model.predict(
            [np.float32([0, 5, 0]), np.float32([1, 2]), np.zeros(3, int), np.array([0.0, 0.0, 7.0])]
        )
    assert (good.label, double.label) == ("b", "c") and not good.error
    assert short.error and "\n" not in short.error
    assert whole.error == "expected float32 of shape [any], got int64 of shape [3]"
    expected = np.exp([0, 5, 0]) / np.exp([0, 5, 0]).sum()
    np.testing.assert_allclose(values(good), expected, rtol=1e-5)


@pytest.mark.parametrize("card", ['{"modality": null}', '{"modality": "x"}', "[1]", "{"])
def test_a_card_of_another_kind_harms_no_answer(older, tmp_path, card):
    shutil.copytree(older, tmp_path / "copy")
    (tmp_path / "copy/assets").mkdir(exist_ok=True)
    (tmp_path / "copy/assets/model_card.json").write_text(card)
    with serving.load(tmp_path / "copy") as model:
        assert model.predict(np.full((8, 8, 3), (200, 1, 3), np.uint8))[0].label == "red"
