"""Pictures to ask a predictor, and its answers as numbers."""

import io

import numpy as np
from PIL import Image


def picture(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, form="PNG"):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, form)
    return stream.getvalue()


def values(prediction):
    return list(prediction.probabilities.values())
