"""Reads the size of a picture from the header of its file, without decoding it."""

from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from tf_transfer.modalities.image.limits import MAX_PIXELS, NO_PICTURE, TOO_LARGE

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


def header(file: str | BinaryIO) -> tuple[int, int] | str:
    """Returns a picture's (height, width), or the reason why it cannot be read."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        return TOO_LARGE
    except UnidentifiedImageError:
        return NO_PICTURE
    except OSError as e:
        return e.strerror or "cannot be read"
    except Exception:  # On damaged bytes, Pillow's parsers raise various errors.
        return "damaged header"
    return (height, width) if width * height <= MAX_PIXELS else TOO_LARGE
