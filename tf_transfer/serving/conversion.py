"""Converts pictures that TensorFlow cannot decode, TIFF, AVIF and HEIC, to files that it can, by Pillow.

Training and `--phase=predict` call the same function, so that both see the same pixels. It is here and not in
`modalities.image` because prediction with an exported model needs TensorFlow alone; Pillow is imported for such a file.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from tf_transfer.serving import pictures
from tf_transfer.serving.inputs import DAMAGED, InputError

ENDINGS = (".tif", ".tiff", ".avif", ".heic", ".heif")
"""Endings of the files that are converted."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files."""
AVIF, HEIC = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands that follow `ftyp`; mif1 and msf1 are of both, and AVIF where its brand stands among the further ones."""
# Tags of TIFF files.
_SUBFILE, _BITS, _PHOTOMETRIC, _ORIENTATION, _DNG = 254, 258, 262, 274, 50706
_PREVIEW = "its first page is a preview, as in the raw file of a camera: convert it"
_NO_RANGE = "TIFF of signed, fractional or 32-bit numbers, whose range is not known: convert it to 8 bits"
_LAB = "TIFF in Lab colours: convert it to RGB"
_PLUGIN = "HEIC needs pillow-heif: pip install pillow-heif, or in a checkout pip install -e '.[heif]'"
_NO_AVIF = "AVIF needs Pillow 11.3 or later with AVIF in it: pip install -U pillow"
_NO_PILLOW = "needs Pillow: pip install pillow"


def kind(head: bytes) -> str:
    """Returns TIFF, AVIF or HEIC by the first 32 bytes of a file, or nothing where it is not one of them."""
    if head.startswith(TIFF):
        return "TIFF"
    if head[4:8] != b"ftyp" or head[8:12] not in AVIF + HEIC:
        return ""
    others = {head[at : at + 4] for at in range(8, min(len(head), int.from_bytes(head[:4])), 4)}
    return "AVIF" if others & {*AVIF} else "HEIC"


def converted(content: bytes) -> bytes:
    """Returns a TIFF, AVIF or HEIC file as a BMP file of the same picture; a file of another kind as it is.

    Of several pages or frames the first counts. The picture is upright; more than 8 bits are scaled by their range,
    see `to_bytes`; transparent pixels are laid on white.

    Raises:
        InputError: the file is damaged, of a variant without a plain meaning, or needs a package; the message says it.
    """
    if not kind(content[:32]):
        return content
    with opened(io.BytesIO(content)) as image:
        written = io.BytesIO()
        try:
            _image(_pixels(image)).save(written, "BMP")
        except InputError:
            raise
        except Exception as e:  # On damaged bytes, decoders raise various errors.
            raise InputError(DAMAGED) from e
    return written.getvalue()


@contextlib.contextmanager
def opened(file: BinaryIO) -> Iterator:
    """Opens a TIFF, AVIF or HEIC file as a Pillow image; its pixels are not read yet.

    Raises:
        InputError: as `converted`.
    """
    head = file.read(32)
    found = kind(head)
    file.seek(0)
    try:
        from PIL import Image, features
    except ImportError:
        raise InputError(f"{found} {_NO_PILLOW}") from None
    if found == "AVIF" and not features.check("avif"):
        raise InputError(_NO_AVIF)
    if found == "HEIC":
        _take_heic()
    try:
        image = Image.open(file, formats=["HEIF" if found == "HEIC" else found])
    except Exception as e:  # On damaged bytes, Pillow's parsers raise various errors.
        too_large = isinstance(e, Image.DecompressionBombError)
        raise InputError(pictures.TOO_LARGE if too_large else "damaged header") from e
    with image:
        if found == "TIFF":
            try:
                _check_tiff(image, head)
            except InputError:
                raise
            except Exception as e:  # Tags of a damaged file have values of any type.
                raise InputError(DAMAGED) from e
        if image.width * image.height > pictures.MAX_PIXELS:
            raise InputError(pictures.TOO_LARGE)
        yield image


def sides(image) -> tuple[int, int]:
    """Returns the (height, width) of an opened image once it is turned upright."""
    width, height = image.size
    # Of a TIFF, Pillow tells the upright sides.
    turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def bits(image) -> int:
    """Returns the bits of a channel of an opened TIFF image; 8 for other kinds, whose decoders return 8."""
    stated = image.tag_v2.get(_BITS, (1,)) if image.format == "TIFF" else (8,)
    return max(stated) if isinstance(stated, tuple) else int(stated)


def to_bytes(values: np.ndarray, top: int) -> np.ndarray:
    """Scales whole numbers from 0 to `top` to bytes: round(255 x / top), exactly."""
    return ((values.astype(np.int64) * 510 + top) // (2 * top)).clip(0, 255).astype(np.uint8)


def grey_bytes(image, upright=None) -> np.ndarray:
    """Returns an opened image of a mode I;16, or the same turned `upright`, as uint8 `[H, W]`, 255 for white."""
    depth = bits(image) if image.format == "TIFF" else 16
    values = to_bytes(np.asarray(image if upright is None else upright), (1 << depth) - 1)
    # Pillow leaves 0 white in these alone.
    return 255 - values if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0 else values


def _take_heic() -> None:
    try:
        import pillow_heif
    except ImportError:
        raise InputError(_PLUGIN) from None
    pillow_heif.register_heif_opener()


def _check_tiff(image, head: bytes) -> None:
    tags = image.tag_v2
    if head[8:10] == b"CR" or _DNG in tags or tags.get(_SUBFILE, 0) & 1:
        raise InputError(_PREVIEW)
    if image.mode == "LAB":
        raise InputError(_LAB)
    if image.mode[0] in "IF" and not image.mode.startswith("I;16"):
        raise InputError(_NO_RANGE)


def _pixels(image) -> np.ndarray:
    """Reads an opened image: uint8 `[H, W, 3]` or `[H, W]`, upright."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    deep = upright.mode.startswith("I;16")
    return grey_bytes(image, upright) if deep else np.asarray(pictures.in_colours(upright))


def _image(pixels: np.ndarray):
    from PIL import Image

    return Image.fromarray(pixels).convert("RGB")
