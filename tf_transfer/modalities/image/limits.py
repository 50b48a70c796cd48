"""Limits on picture files, and the reasons for which they are refused."""

MAX_PIXELS = 100_000_000
"""Pictures whose header claims more pixels are not decoded; 300 MB as uint8, four times that as float32."""
TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels"
NO_PICTURE = "no JPEG, PNG, GIF, BMP or WebP picture"
"""Reason for a file of another kind."""
MOVING = "a moving WebP"
"""Reason for a WebP file of several frames: TensorFlow would decode all of them."""
