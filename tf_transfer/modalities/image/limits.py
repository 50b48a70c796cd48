"""How large a picture may be."""

MAX_PIXELS = 100_000_000
"""A picture whose header claims more pixels is not decoded: 300 MB as uint8, four times that as float32."""
TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels"
NO_PICTURE = "no JPEG, PNG, GIF, BMP or WebP picture"
"""What is said of a file of another kind."""
MOVING = "a moving WebP"
"""What is said of a WebP file of several frames, of which TensorFlow would decode all."""
