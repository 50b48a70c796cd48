"""Picture files decoded row by row: what one row is does not touch the others."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_transfer.modalities.image import decode_rows, pixels, preprocessing
from tf_transfer.modalities.image.limits import CONVERTED

SIZE = 16


@pytest.fixture(scope="module")
def decode():
    spec = tf.TensorSpec((None,), tf.string)
    return tf.function(lambda contents: decode_rows.decode(contents, SIZE), input_signature=[spec], autograph=False)


def encoded(form, seed=0, **options):
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((40 + seed, 30)).save(stream, form, **options)
    return stream.getvalue()


FORMS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
GOOD = [encoded(form, seed) for seed in range(3) for form in FORMS]
# By its comment, which stands where the other's mark would, it could be a WebP picture, too.
GOOD.append(GOOD[0][:2] + b"\xff\xfe\x00\x0da WEBP file" + GOOD[0][2:])


def claiming(form, side):
    """A file whose header claims a square of that side."""
    content = bytearray(encoded(form))
    if form == "PNG":
        content[16:24] = struct.pack(">II", side, side)
    if form == "BMP":
        content[18:26] = struct.pack("<ii", side, side)
    if form == "GIF":
        content[6:10] = struct.pack("<HH", side, side)
    if form == "JPEG":
        at = content.index(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(content)


def moving():
    stream = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    return stream.getvalue()


BAD = {
    b"": "no JPEG, PNG, GIF, BMP or WebP picture",
    b"junk": "no JPEG, PNG, GIF, BMP or WebP picture",
    encoded("TIFF"): CONVERTED,
    encoded("AVIF"): CONVERTED,
    **{encoded(form)[:-100]: "damaged, or cut short" for form in FORMS},
    b"\xff\xd8\xff": "damaged, or cut short",
    moving(): "a moving WebP",
    **{claiming(form, 20_000): "more than 100 million pixels" for form in FORMS if form != "WEBP"},
}


def alone(content):
    return tf.cast(preprocessing.resize(pixels.decode(tf.constant(content)), SIZE), tf.uint8).numpy()


def test_good_rows_are_what_training_sees(decode):
    images, status = decode(tf.constant(GOOD))
    assert set(status.numpy()) == {b"ok"}
    for image, content in zip(images.numpy(), GOOD, strict=True):
        np.testing.assert_array_equal(image, alone(content))


@pytest.mark.parametrize("seed", range(4))
def test_bad_rows_get_their_reason_and_harm_no_other(decode, seed):
    contents = [*GOOD, *BAD]
    order = np.random.default_rng(seed).permutation(len(contents))
    images, status = (x.numpy() for x in decode(tf.constant([contents[i] for i in order])))
    for i, image, told in zip(order, images, status, strict=True):
        expected = BAD.get(contents[i], "ok")
        assert told.decode() == expected, contents[i][:20]
        np.testing.assert_array_equal(image, alone(contents[i]) if expected == "ok" else np.zeros_like(image))


def test_no_rows(decode):
    images, status = decode(tf.constant([], tf.string))
    assert images.shape == (0, SIZE, SIZE, 3) and status.shape == (0,)
