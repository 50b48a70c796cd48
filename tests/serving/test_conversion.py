"""TIFF, AVIF and HEIC files: the pixels that Pillow shows, upright, alike in training and in prediction."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tf_transfer.data import decoding
from tf_transfer.data.examples import Stored
from tf_transfer.modalities import base
from tf_transfer.serving import conversion, pictures
from tf_transfer.serving.inputs import DAMAGED, InputError

IMAGES = base.find("image")


def picture(mode="RGB"):
    small = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((48, 32), Image.Resampling.BICUBIC)
    if mode in ("RGBA", "LA"):
        image.putalpha(image.convert("L"))
    return image.convert(mode)


def encoded(image, kind, orientation=1, **options):
    exif, file = Image.Exif(), io.BytesIO()
    if orientation > 1:
        exif[ExifTags.Base.Orientation] = orientation
    image.save(file, kind, **({"exif": exif} if orientation > 1 else {}), **options)
    return file.getvalue()


def tiff(values, bits, tags=()):
    """A grey TIFF of one strip, tag by tag: Pillow writes neither 12 bits nor 0 as white."""
    height, width = values.shape
    packed = values.astype("<u2").tobytes()
    if bits == 12:
        packed = int("".join(f"{v:012b}" for v in values.ravel()), 2).to_bytes(values.size * 12 // 8, "big")
    stated = {254: 0, 256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height} | dict(tags)
    stated[279] = len(packed)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(stated.items()))
    content = struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed
    return content + struct.pack("<H", len(stated)) + entries + b"\0" * 4


def with_text(content):
    """The TIFF with text in place of a number in tag 254."""
    number, text = struct.pack("<HHII", 254, 4, 1, 0), struct.pack("<HHI4s", 254, 2, 4, b"no\0\0")
    assert content.count(number) == 1
    return content.replace(number, text)


def read(content):
    """The pixels of a converted file, by Pillow, which reads a BMP without loss."""
    with Image.open(io.BytesIO(conversion.converted(content))) as image:
        assert image.format == "BMP" and image.mode == "RGB"
        return np.asarray(image)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_has_the_pixels_that_pillow_shows(mode, compression):
    content = encoded(picture(mode), "TIFF", compression=compression)
    np.testing.assert_array_equal(read(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(kind, mode):
    content = encoded(picture(mode), kind)
    shown = Image.open(io.BytesIO(content)).convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    # Pillow's own compositing rounds differently.
    np.testing.assert_allclose(read(content).astype(int), np.asarray(expected).astype(int), atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_all_orientations(kind, orientation):
    content = encoded(picture(), kind, orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    np.testing.assert_array_equal(read(content), expected)
    assert IMAGES.measure(io.BytesIO(content)) == expected.shape[:2] == ((48, 32) if orientation > 4 else (32, 48))
    # And not merely alike: turned back, it is the picture that was written, as near as its compression keeps it.
    back = {2: 0, 3: 1, 4: 2, 5: 3, 6: 4, 7: 5, 8: 6}.get(orientation)
    undo = [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_270]  # fmt: skip
    stored = Image.fromarray(expected) if back is None else Image.fromarray(expected).transpose(undo[back])
    assert np.abs(np.asarray(stored).astype(int) - np.asarray(picture()).astype(int)).mean() < 8


def test_heic():
    pytest.importorskip("pillow_heif").register_heif_opener()
    content = encoded(picture(), "HEIF")
    assert conversion.kind(content[:32]) == "HEIC" and IMAGES.recognises(content[:32])
    np.testing.assert_array_equal(read(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert IMAGES.measure(io.BytesIO(content)) == (32, 48)


VALUES = {12: np.arange(4096, dtype=np.uint16).reshape(64, 64), 16: np.arange(65536, dtype=np.uint16).reshape(256, 256)}


@pytest.mark.parametrize(("bits", "order"), [(12, "little"), (16, "little"), (16, "big")])
def test_more_bits_are_scaled_by_their_range(bits, order):
    values = VALUES[bits]
    content = tiff(values, bits)
    if order == "big":
        content = encoded(Image.frombytes("I;16B", values.shape, values.astype(">u2").tobytes()), "TIFF")
        assert content.startswith(b"MM")
    expected = np.round(values / (2**bits - 1) * 255)
    np.testing.assert_array_equal(read(content), np.repeat(expected[..., None], 3, axis=-1))
    measured = IMAGES.measure(io.BytesIO(content))
    assert measured == values.shape and measured.remark == f"{bits} bits"


def test_white_is_zero():
    np.testing.assert_array_equal(read(tiff(VALUES[16], 16, {262: 0})), 255 - read(tiff(VALUES[16], 16)))


def test_every_number_of_16_bits_is_rounded_to_the_nearest():
    values = np.arange(65536)
    np.testing.assert_array_equal(conversion.to_bytes(values, 65535), np.round(values / 257))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "whose range is not known"),
        (encoded(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"), "whose range is not known"),
        (encoded(picture("LAB"), "TIFF"), "Lab colours: convert it to RGB"),
        (tiff(VALUES[16], 16, {254: 1}), "preview, as in the raw file of a camera"),
        (with_text(tiff(VALUES[16], 16)), DAMAGED),
        (tiff(VALUES[16], 16, {50706: 1}), "preview, as in the raw file of a camera"),
        (encoded(picture(), "TIFF")[:300], DAMAGED),
        (b"II*\0 and then nothing", "damaged header"),
        (encoded(picture(), "AVIF")[:100], "damaged"),
    ],
)
def test_what_is_refused_has_a_reason_in_training_and_in_prediction(content, reason):
    with pytest.raises(InputError, match=reason) as refused:
        conversion.converted(content)
    measured = IMAGES.measure(io.BytesIO(content))
    # Pixels that are cut short show when they are decoded.
    assert measured == str(refused.value) or (isinstance(measured, tuple) and reason == DAMAGED)


def test_too_many_pixels(monkeypatch):
    content = encoded(picture(), "TIFF")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 48 * 32 - 1)
    with pytest.raises(InputError, match="more than 100 million pixels"):
        conversion.converted(content)
    assert IMAGES.measure(io.BytesIO(content)) == "more than 100 million pixels"


def test_a_missing_package_is_named_with_both_ways_to_install_it(monkeypatch):
    from PIL import features

    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    expected = "HEIC needs pillow-heif: pip install pillow-heif, or in a checkout pip install -e '.[heif]'"
    assert IMAGES.measure(io.BytesIO(heic)) == expected
    with pytest.raises(InputError) as refused:
        conversion.converted(heic)
    assert str(refused.value) == expected
    monkeypatch.setattr(features, "check", lambda name: False)
    assert "pip install -U pillow" in IMAGES.measure(io.BytesIO(encoded(picture(), "AVIF")))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypavif", "AVIF"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        # Behind the box of brands other data stand.
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1avif", "HEIC"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0qt  ", ""),
        (b"\0\0\0\x18ftypcrx \0\0\0\0crx ", ""),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\xff\xd8\xff\xe0", ""),
        (b"", ""),
    ],
)
def test_kinds_by_their_first_bytes(head, kind):
    assert conversion.kind(head) == kind
    # The raw files of cameras begin as a TIFF: there the ending decides.
    assert IMAGES.recognises(head) == (kind in ("AVIF", "HEIC") or head.startswith(b"\xff\xd8\xff"))


def test_other_files_are_passed_on():
    for content in (b"", b"junk", encoded(picture(), "PNG")):
        assert conversion.converted(content) is content


def test_training_and_prediction_see_the_same(predictor, tmp_path):
    contents = [encoded(picture(), "TIFF", 6), encoded(picture(), "AVIF", 8), encoded(picture("I;16"), "TIFF")]
    paths = [str(tmp_path / name) for name in ("a.tif", "b.jpg", "c.tiff")]
    for path, content in zip(paths, contents, strict=True):
        with open(path, "wb") as file:
            file.write(content)
    small = Stored((8, 8, 3), native=False)
    trained, good = decoding.decode_files([*paths, __file__], small, IMAGES)
    assert good.tolist() == [True, True, True, False]
    for path, content, row in zip(paths, contents, trained, strict=False):
        np.testing.assert_array_equal(row, IMAGES.fit(read(content), small))
        by_file, by_pixels, by_bytes = predictor.predict([path, read(content), content])
        assert by_file.probabilities == by_bytes.probabilities != {}
        np.testing.assert_allclose(
            list(by_file.probabilities.values()), list(by_pixels.probabilities.values()), atol=1e-6
        )
    cut = predictor.predict([contents[0][:300]])[0]
    assert cut.error == DAMAGED and not cut.label


def test_pillow_itself_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="TIFF needs Pillow: pip install pillow"):
        conversion.converted(b"II*\0" + b"\0" * 40)
