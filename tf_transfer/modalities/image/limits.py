"""Limits on picture files, the reasons for which they are refused, and their first bytes."""

from tf_transfer.serving import pictures

MAX_PIXELS, TOO_LARGE = pictures.MAX_PIXELS, pictures.TOO_LARGE
"""Pictures whose header claims more pixels are not decoded, and the reason for them."""
NO_PICTURE = "no JPEG, PNG, GIF, BMP or WebP picture"
"""Reason for a file of another kind."""
CONVERTED = "TIFF, AVIF and HEIC are not decoded in the exported model: send JPEG or PNG, or use --phase=predict"
"""Reason for a file that training and predict convert, see `serving.conversion`."""
EMPTY = "an empty file"
MOVING = "a moving WebP"
"""Reason for a WebP file of several frames: TensorFlow would decode all of them."""

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
# Lengths of the header that stands behind the first 14 bytes of a BMP file; text may start with its mark, BM, too.
_BMP = (12, 40, 52, 56, 64, 108, 124)


def recognised(head: bytes) -> bool:
    """Says whether a file that starts with these 32 bytes is a JPEG, PNG, GIF, BMP or WebP picture."""
    if head.startswith(b"BM"):
        return int.from_bytes(head[14:18], "little") in _BMP
    return head.startswith(_STARTS) or (head[:4], head[8:12]) == (b"RIFF", b"WEBP")
