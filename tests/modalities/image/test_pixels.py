import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_transfer.modalities.image import pixels, preprocessing
from tf_transfer.modalities.image.limits import CONVERTED, NO_PICTURE


def picture(mode="RGB", width=48, height=40):
    """A smooth picture with every grey level, in a Pillow mode."""
    small = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def with_alpha():
    image = picture("RGBA")
    image.putalpha(picture("L", 48, 40))
    return image


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_pillow(content):
    """What Pillow shows of a file: 16 bits scaled to 8, transparency on white."""
    image = Image.open(io.BytesIO(content))
    if image.mode.startswith("I"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def grey_png(bits, transparent=None):
    """A grey PNG of 1, 2 or 4 bits, chunk by chunk: Pillow writes no such file."""
    values = np.random.default_rng(bits).integers(0, 2**bits, (5, 8))
    rows = [int("".join(f"{v:0{bits}b}" for v in row), 2).to_bytes(bits, "big") for row in values]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 5, bits, 0, 0, 0, 0))]
    chunks += [(b"tRNS", struct.pack(">H", transparent))] if transparent is not None else []
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    grey = np.round(values * (255 / (2**bits - 1))).astype(np.uint8)
    grey[values == (-1 if transparent is None else transparent)] = 255
    return b"\x89PNG\r\n\x1a\n" + body, np.repeat(grey[..., None], 3, axis=-1)


def bmp_of_4_bits(direction=1):
    """A BMP of 16 colours, which Pillow reads and does not write; rows from below, or from the top with -1."""
    draw = np.random.default_rng(2)
    colours, rows = draw.integers(0, 256, (16, 4), np.uint8).tobytes(), draw.integers(0, 256, (40, 24), np.uint8)
    header = struct.pack("<IiiHHIIiiII", 40, 48, 40 * direction, 1, 4, 0, 0, 0, 0, 16, 0)
    return b"BM" + struct.pack("<IHHI", 118 + 960, 0, 0, 118) + header + colours + rows.tobytes()


FILES = {
    "jpeg": encode(picture(), "JPEG", quality=90),
    "jpeg progressive": encode(picture(), "JPEG", progressive=True),
    "jpeg grey": encode(picture("L"), "JPEG"),
    "jpeg cmyk": encode(picture("CMYK"), "JPEG"),
    "png": encode(picture(), "PNG"),
    "png grey": encode(picture("L"), "PNG"),
    "png palette": encode(picture("P"), "PNG"),
    "png palette with transparency": encode(picture("P"), "PNG", transparency=3),
    "png 4 colours": encode(picture().quantize(4), "PNG"),
    "png alpha": encode(with_alpha(), "PNG"),
    "png grey alpha": encode(with_alpha().convert("LA"), "PNG"),
    "png 16 bits": encode(Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257 - 100), "PNG"),
    "png 1 bit": encode(picture("1"), "PNG"),
    "gif": encode(picture("P"), "GIF"),
    "gif moving": encode(picture("P"), "GIF", save_all=True, append_images=[picture("P").transpose(1)]),
    "bmp": encode(picture(), "BMP"),
    "bmp grey": encode(picture("L"), "BMP"),
    "bmp 1 bit": encode(picture("1"), "BMP"),
    "bmp 4 bits": bmp_of_4_bits(),
    "bmp 4 bits from the top": bmp_of_4_bits(-1),
    "bmp palette": encode(picture("P"), "BMP"),
    "bmp 32 bits": encode(picture("RGBA"), "BMP"),
    "webp": encode(picture(), "WEBP", quality=90),
    "webp lossless": encode(picture(), "WEBP", lossless=True),
    "webp extended": encode(picture(), "WEBP", icc_profile=b"made up"),
    "webp alpha": encode(with_alpha(), "WEBP", lossless=True),
    "webp lossy alpha": encode(with_alpha(), "WEBP"),
}
MOVING_WEBP = encode(picture(), "WEBP", save_all=True, append_images=[picture().transpose(1)])
in_graph = tf.function(pixels.decode, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("decode", [pixels.decode, in_graph], ids=["eager", "graph"])
def test_decode_agrees_with_pillow(decode, kind):
    decoded = decode(tf.constant(FILES[kind])).numpy()
    expected = by_pillow(FILES[kind])
    assert decoded.dtype == np.uint8 and decoded.shape == expected.shape == (40, 48, 3)
    # One grey level: Pillow's own compositing rounds differently. JPEG decoders agree to a level or two.
    # Pillow and TensorFlow bring a libwebp each.
    tolerance = 2 if kind.startswith(("jpeg", "webp lossy")) or kind in ("webp", "webp extended") else "alpha" in kind
    np.testing.assert_allclose(decoded.astype(int), expected.astype(int), atol=tolerance)


@pytest.mark.parametrize("transparent", [None, 1])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_png_of_few_bits(bits, transparent):
    content, expected = grey_png(bits, transparent)
    np.testing.assert_array_equal(pixels.decode(tf.constant(content)), expected)


def png_of_16_bits(channels):
    """A PNG of 16 bits a channel with every number once a channel; Pillow writes no colours of 16 bits."""
    values = np.stack([np.random.default_rng(i).permutation(65536).reshape(256, 256) for i in range(channels)], -1)
    header = struct.pack(">IIBBBBB", 256, 256, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body, values


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_scaled_by_their_range(channels):
    content, values = png_of_16_bits(channels)
    expected = np.round(values / 257)
    if channels in (2, 4):
        alpha = expected[..., -1:] / 255
        expected = np.round(expected[..., :-1] * alpha + 255 * (1 - alpha))
    decoded = pixels.decode(tf.constant(content)).numpy().astype(int)
    # Halves of a grey level are rounded in float32.
    np.testing.assert_allclose(decoded, np.broadcast_to(expected, decoded.shape), atol=channels % 2 == 0)


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "png", "gif", "bmp", "bmp 1 bit", "bmp palette", "webp"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_a_cut_file_is_an_error(kind, share):
    with pytest.raises(tf.errors.InvalidArgumentError):
        pixels.decode(tf.constant(FILES[kind][: int(share * len(FILES[kind]))]))


@pytest.mark.parametrize(
    "content", [b"", b"text, not a picture", b"\x89PNG", b"\xff\xd8\xff\xe0", b"BM", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8X"]
)
def test_no_picture_is_an_error(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        pixels.decode(tf.constant(content))


SIZES = [((8, 8), 32), ((28, 28), 32), ((7, 9), 32), ((32, 32), 32), ((96, 50), 96), ((48, 64), 32), ((20, 64), 32)]


def noise(height, width):
    return np.random.default_rng(height + width).integers(0, 256, (4, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_resized_once_and_stored_passes_unchanged(shape, size):
    once = preprocessing.resize(noise(*shape), size).numpy()
    np.testing.assert_array_equal(once, once.astype(np.uint8))
    np.testing.assert_array_equal(preprocessing.resize(once.astype(np.uint8), size), once)


@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_resize_does_not_depend_on_what_is_known_of_the_shape(shape, size):
    images = noise(*shape)
    eager = preprocessing.resize(images, size).numpy()
    assert eager.shape == (4, size, size, 3) and eager.dtype == np.float32
    for signature in [(None, *shape, 3), (None, None, None, 3), (None, shape[0], None, 3)]:
        graph = tf.function(
            lambda x: preprocessing.resize(x, size), input_signature=[tf.TensorSpec(signature, tf.uint8)]
        )
        np.testing.assert_array_equal(graph(images), eager)
    np.testing.assert_array_equal(preprocessing.resize(images[1], size), eager[1])


def test_doubling_is_bilinear():
    # Half-pixel centres: new pixels stand at -1/4, 1/4, 3/4, 5/4 of the old; the ends are repeated.
    row = np.array([0, 100], np.uint8)
    grid = np.repeat(np.stack([row, row])[..., None], 3, axis=-1)
    np.testing.assert_array_equal(preprocessing.resize(grid, 4)[0, :, 0], [0, 25, 75, 100])


def test_shrinking_averages():
    # A fine checkerboard becomes grey; without antialiasing it would stay black and white.
    board = np.indices((64, 64)).sum(0) % 2 * 255
    shrunk = preprocessing.resize(np.repeat(board[..., None], 3, axis=-1), 16).numpy()
    assert np.abs(shrunk[1:-1, 1:-1] - 127.5).max() < 2


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "webp", "webp lossless", "webp extended"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_picture_that_is_too_large_is_not_decoded(monkeypatch, kind, compiled):
    content = FILES[kind]
    decode = tf.function(pixels.decode, autograph=False) if compiled else pixels.decode
    monkeypatch.setattr(pixels, "MAX_PIXELS", 48 * 40 - 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 100 million pixels"):
        decode(tf.constant(content))
    monkeypatch.setattr(pixels, "MAX_PIXELS", 48 * 40)
    assert pixels.decode(tf.constant(content)).shape == (40, 48, 3)


def test_other_kinds_are_refused():
    for kind, reason in (("TIFF", CONVERTED), ("AVIF", CONVERTED), ("PPM", NO_PICTURE)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            pixels.decode(tf.constant(encode(picture(), kind)))


@pytest.mark.parametrize("decode", [pixels.decode, in_graph], ids=["eager", "graph"])
def test_a_moving_webp_is_refused(decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="a moving WebP"):
        decode(tf.constant(MOVING_WEBP))
