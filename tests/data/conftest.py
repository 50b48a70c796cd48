"""Small picture files for the tests of data sets."""

import os

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_picture():
    """Writes a noise picture of its own seed, whose format follows from its extension; returns its pixels."""

    def write(path, seed=0, size=(6, 6)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(os.path.splitext(path)[1].lower(), "PNG")
        with open(path, "wb") as file:
            Image.fromarray(pixels).save(file, kind)
        return pixels

    return write
