"""EXIF orientations: of every file the same picture as Pillow's `ImageOps.exif_transpose` makes."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tf_transfer.modalities import base
from tf_transfer.modalities.image import decode_rows, orientation, pixels, preprocessing

# Pillow warns about damaged blocks.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
IMAGES = base.find("image")
KINDS = {"JPEG": {}, "PNG": {}, "WEBP": {"lossless": True}}
READ = {"JPEG": orientation.JPEG, "PNG": orientation.PNG, "WEBP": orientation.WEBP}
in_graph = tf.function(pixels.decode, [tf.TensorSpec((), tf.string)], autograph=False)
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)).resize((24, 16), 3)


def entry(order, tag, kind, count, value):
    """An entry of a TIFF directory, its value as bytes."""
    return struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")


def block(*entries, order="<", count=None, at=8, rest=b""):
    """A TIFF block of entries."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", at)
    number = struct.pack(order + "H", len(entries) if count is None else count)
    return start + b"\0" * (at - 8) + number + b"".join(entries) + b"\0\0\0\0" + rest


def stated(value, order="<"):
    return entry(order, 274, 3, 1, struct.pack(order + "H", value))


def file(kind, exif):
    """A file of a kind that holds an EXIF block, as it is."""
    stream = io.BytesIO()
    PICTURE.save(stream, kind, exif=b"Exif\0\0" + exif, **KINDS[kind])
    return stream.getvalue()


def by_pillow(content):
    image = Image.open(io.BytesIO(content))
    try:
        # Pillow takes it from XMP, and fractions for whole numbers; here, neither counts.
        image = ImageOps.exif_transpose(image)
    except Exception:  # Of a damaged block; it then counts as none.
        image = Image.open(io.BytesIO(content))
    return np.asarray(image.convert("RGB"))


def agree(content, decode=in_graph):
    """Says that a decoder, and the header, agree with Pillow."""
    found, expected = decode(tf.constant(content)).numpy(), by_pillow(content)
    assert found.shape == expected.shape and IMAGES.measure(io.BytesIO(content)) == expected.shape[:2]
    # JPEG decoders differ by a level or two; a picture that is turned otherwise differs by far more.
    tolerance = 2 if content.startswith(b"\xff") else 0
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=tolerance)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decode", [pixels.decode, in_graph], ids=["eager", "graph"])
def test_every_orientation_is_applied_as_pillow_does(decode, kind, order):
    seen = set()
    for value in range(10):
        content = file(kind, block(stated(value, order), order=order))
        agree(content, decode)
        seen.add(decode(tf.constant(content)).numpy().tobytes())
    assert len(seen) == 8


MAKER = entry("<", 271, 2, 20, struct.pack("<I", 38))
BLOCKS = {
    "after text that stands elsewhere": block(MAKER, stated(6), rest=b"\0" * 30),
    "after text that is cut short": block(MAKER, stated(6)),
    "before text that is cut short": block(stated(6), MAKER),
    "after text larger than the block": block(entry("<", 271, 2, 4_000_000_000, b"\0\0\0\0"), stated(6)),
    "twice": block(stated(6), stated(3)),
    "first empty, then stated": block(entry("<", 274, 3, 0, b"\6\0"), stated(6)),
    "of an unknown type": block(entry("<", 274, 99, 1, b"\6\0"), stated(8)),
    "long": block(entry("<", 274, 4, 1, struct.pack("<I", 6))),
    "signed": block(entry("<", 274, 9, 1, struct.pack("<i", -6))),
    "a byte": block(entry("<", 274, 1, 1, b"\6")),
    "a signed byte": block(entry("<", 274, 6, 1, b"\6")),
    "text": block(entry("<", 274, 2, 2, b"6\0")),
    "several numbers": block(entry("<", 274, 3, 2, b"\6\0\3\0")),
    "several numbers elsewhere": block(entry("<", 274, 3, 3, struct.pack("<I", 26)), rest=b"\6\0\3\0\1\0"),
    "a directory further on": block(stated(6), at=300),
    "a directory outside": block(stated(6))[:4] + struct.pack("<I", 4_000_000_000) + block(stated(6))[8:],
    "more entries told than there": block(stated(6), count=65_535),
    "no entry told": block(stated(6), count=0),
    "a wrong order of 42": b"MM*\0" + block(stated(6, ">"), order=">")[4:],
    "another start": b"XX*\0" + block(stated(6))[4:],
    "big TIFF": b"II+\0" + block(stated(6))[4:],
    "the mark twice": b"Exif\0\0" + block(stated(6)),
    "a start alone": b"II*\0",
    "one byte": b"I",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("what", BLOCKS)
def test_odd_and_damaged_blocks_count_as_for_pillow(what):
    for kind in KINDS:
        agree(file(kind, BLOCKS[what]))


def segment(mark, content):
    return b"\xff" + bytes([mark]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments):
    """A JPEG with segments at its start."""
    stream = io.BytesIO()
    PICTURE.save(stream, "JPEG")
    return stream.getvalue()[:2] + b"".join(segments) + stream.getvalue()[2:]


EXIF = segment(0xE1, b"Exif\0\0" + block(stated(6)))
LONG = block(stated(6), at=70_000)
JPEGS = {
    "after others": jpeg(segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), *[segment(0xE2, b"x" * 65_000)] * 30, EXIF),
    "after filling bytes": jpeg(b"\xff\xff\xff", EXIF),
    "after a marker without a length": jpeg(b"\xff\xd0", EXIF),
    "in two segments": jpeg(*(segment(0xE1, b"Exif\0\0" + part) for part in (LONG[:60_000], LONG[60_000:]))),
    "in a comment alone": jpeg(segment(0xFE, EXIF)),
    "a segment of its mark alone": jpeg(segment(0xE1, b"Exif\0\0"), EXIF),
    "of another use of the segment": jpeg(segment(0xE1, b"Exif of a kind"), EXIF),
    "behind the picture": jpeg() + EXIF,
}


@pytest.mark.parametrize("where", JPEGS)
def test_where_a_jpeg_holds_it(where):
    agree(JPEGS[where])


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(before=(), after=(), rows=16, per_chunk=7):
    """A grey PNG of many chunks of pixels, with others before and after them."""
    packed = zlib.compress(b"".join(b"\0" + bytes(range(row, row + 24)) for row in range(rows)), 0)
    data = [chunk(b"IDAT", packed[at : at + per_chunk]) for at in range(0, len(packed), per_chunk)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 24, rows, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join([*before, *data, *after]) + chunk(b"IEND", b"")


def test_where_a_png_holds_it():
    exif, text = chunk(b"eXIf", block(stated(6))), chunk(b"tEXt", b"Comment\0eXIf")
    for content in (png([exif]), png([text], [text, exif]), png([text]), png(after=[exif], rows=100, per_chunk=3)):
        agree(content)
    assert in_graph(tf.constant(png(after=[exif], rows=200, per_chunk=1))).shape == (24, 200, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_content_makes_the_reading_fail(kind):
    draw = np.random.default_rng(5)
    whole = file(kind, block(MAKER, stated(6), rest=b"x" * 40))
    contents = [b"", b"\xff", b"\x89PNGeXIf", b"RIFF\0\0\0\0WEBPEXIF", b"\xff\xe1\xff\xffExif\0\0", b"eXIf" * 9]
    for _ in range(300):
        changed = bytearray(whole[: draw.integers(1, len(whole) + 1)])
        for at in draw.integers(0, min(len(changed), 150), draw.integers(0, 6)):
            changed[at] = draw.choice([0, 1, 255, draw.integers(256)])
        contents.append(bytes(changed))
    found = READ[kind].orientations(tf.constant(contents)).numpy()
    assert found.shape == (306,) and set(found) <= set(range(1, 9)) and 6 in found


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_ends_soon(kind):
    endless = {
        "JPEG": b"\xff\xd8" + b"\xff\xe1\0\x08Exif\0\0" * 200_000,
        "PNG": b"\x89PNG\r\n\x1a\n" + (struct.pack(">I", 0) + b"eXIf\0\0\0\0") * 200_000,
        "WEBP": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08" + b"\0" * 9 + b"FREE\0\0\0\0" * 200_000 + b"EXIF",
    }[kind]
    assert READ[kind].orientations(tf.constant([endless])).numpy() == [1]


def test_rows_of_the_export_are_turned_as_in_training():
    contents = [file(kind, block(stated(value))) for value in range(1, 9) for kind in KINDS] + [jpeg(), png()]
    images, status = tf.function(lambda c: decode_rows.decode(c, 12), autograph=False)(tf.constant(contents))
    assert set(status.numpy()) == {b"ok"}
    for image, content in zip(images.numpy(), contents, strict=True):
        np.testing.assert_array_equal(image, preprocessing.resize(pixels.decode(tf.constant(content)), 12))


def test_the_gate_asks_for_every_orientation():
    example, endings = IMAGES.random(1, 8)[0][:5], set()
    for number in range(8):
        ending, content = IMAGES.probe(example, number)
        endings.add(ending)
        assert Image.open(io.BytesIO(content)).getexif()[orientation.TAG] == number + 1
        np.testing.assert_array_equal(in_graph(tf.constant(content)), example)
    assert endings == {".png", ".webp"}
