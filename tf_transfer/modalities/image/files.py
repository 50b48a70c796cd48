"""Reads the size of a picture from the header of its file, without decoding it."""

import contextlib
import io
import struct
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from tf_transfer.data.examples import HEAD, Sides
from tf_transfer.modalities.image.limits import EMPTY, MAX_PIXELS, NO_PICTURE, TOO_LARGE
from tf_transfer.serving import conversion
from tf_transfer.serving.inputs import InputError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


def header(file: str | BinaryIO) -> Sides | str:
    """Returns the (height, width) of a picture turned upright, or the reason why it cannot be read.

    A remark says of more than 8 bits a channel how many they are.
    """
    try:
        with _stream(file) as stream:
            head = stream.read(HEAD)
            stream.seek(0)
            if not head:
                return EMPTY
            return _converted(stream) if conversion.kind(head) else _decoded(stream, head)
    except Image.DecompressionBombError:
        return TOO_LARGE
    except UnidentifiedImageError:
        return NO_PICTURE
    except InputError as e:
        return str(e)
    except OSError as e:
        return e.strerror or "cannot be read"
    except Exception:  # On damaged bytes, Pillow's parsers raise various errors.
        return "damaged header"


def difference_hash(path: str) -> bytes | None:
    """Returns 64 bits: of 8 rows of 9 grey means of a picture, whether each is lighter than the one to its left.

    None for a picture that cannot be read, or is too plain to be told from others: of less than `_CONTRAST` between its
    means, or with less than `_VARIED` bits of either kind.

    References:
        Krawetz, "Kind of like that", 2013 (dHash).
    """
    if isinstance(header(path), str):
        return None
    try:
        with open(path, "rb") as stream, _opened(stream) as image:
            # JPEG files are decoded at an eighth of their size where that is enough.
            image.draft("L", (72, 64))
            means = np.asarray(_grey(image).resize((9, 8), Image.Resampling.BOX), np.int16)
    except Exception:  # On damaged bytes, Pillow's decoders raise various errors.
        return None
    bits = means[:, 1:] > means[:, :-1]
    plain = np.ptp(means) < _CONTRAST or not _VARIED <= bits.sum() <= 64 - _VARIED
    return None if plain else np.packbits(bits).tobytes()


_CONTRAST, _VARIED = 16, 8


def _grey(image: Image.Image) -> Image.Image:
    # Pillow would clip more than 8 bits at 255.
    return Image.fromarray(conversion.grey_bytes(image)) if image.mode.startswith("I;16") else image.convert("L")


def _opened(stream: BinaryIO) -> contextlib.AbstractContextManager[Image.Image]:
    head = stream.read(HEAD)
    stream.seek(0)
    return conversion.opened(stream) if conversion.kind(head) else Image.open(stream, formats=FORMATS)


def _stream(file: str | BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    return open(file, "rb") if isinstance(file, str) else contextlib.nullcontext(file)


def _decoded(stream: BinaryIO, head: bytes) -> Sides | str:
    with Image.open(stream, formats=FORMATS) as image:
        width, height = image.size if _orientation(image) < 5 else image.size[::-1]
        # Byte 24 of a PNG.
        bits = head[24] if image.format == "PNG" else 8
    return _sides(height, width, bits) if width * height <= MAX_PIXELS else TOO_LARGE


def _converted(stream: BinaryIO) -> Sides:
    with conversion.opened(stream) as image:
        return _sides(*conversion.sides(image), conversion.bits(image))


def _sides(height: int, width: int, bits: int) -> Sides:
    return Sides((height, width), f"{bits} bits" if bits > 8 else "")


# How a picture is stored that an orientation turns upright; 6 and 8 undo each other.
_STORED = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
           8: Image.Transpose.ROTATE_270}  # fmt: skip


def turned(picture: np.ndarray, orientation: int) -> tuple[str, bytes]:
    """Returns ending and content of a file, without loss, whose EXIF orientation makes it this picture."""
    image, exif, file = Image.fromarray(np.ascontiguousarray(picture)), Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    if orientation in _STORED:
        image = image.transpose(_STORED[orientation])
    kind = "PNG" if orientation % 2 else "WEBP"
    image.save(file, kind, lossless=True, exif=exif.tobytes())
    return f".{kind.lower()}", file.getvalue()


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation of an open picture; 1 where there is none, or it is damaged.

    The same as of `orientation`, which reads it where the picture is decoded.
    """
    exif = Image.Exif()
    try:
        exif.load(_of_png(image.fp) if image.format == "PNG" else image.info.get("exif", b""))
        stated = exif.get(ExifTags.Base.Orientation)
    except Exception:  # On damaged bytes, Pillow's parsers raise various errors.
        return 1
    return stated if isinstance(stated, int) and 1 <= stated <= 8 else 1


def _of_png(file: BinaryIO) -> bytes:
    """Returns the EXIF block of a PNG file; Pillow would decode the picture to look behind its pixels."""
    block, at, kind = b"", 8, b""
    while kind != b"IEND":
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf" and len(content := file.read(size)) == size:
            block = b"Exif\0\0" + content
        at += 12 + size
    return block
