"""Limits on picture files, the reasons for which they are refused, and their first bytes."""

MAX_PIXELS = 100_000_000
"""Pictures whose header claims more pixels are not decoded; 300 MB as uint8, four times that as float32."""
TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels"
NO_PICTURE = "no JPEG, PNG, GIF, BMP or WebP picture"
"""Reason for a file of another kind."""
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
