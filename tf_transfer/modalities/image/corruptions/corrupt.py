"""Corrupts pictures block by block, each a function of the seed and of its place."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tf_transfer.modalities.image.corruptions import blur, digital, noise, weather

SEVERITIES = (1, 2, 3, 4, 5)
# Side in pixels that a picture must have.
SMALLEST = 16
# Pictures worked on at a time, and larger sides have the parameters of ImageNet-C.
_BLOCK, _SMALL = 64, 64

# By name: the function, and its parameters by severity for small and for large pictures.
CORRUPTION: dict[str, tuple[Callable, tuple, tuple]] = {
    "gaussian_noise": (noise.gaussian, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (noise.shot, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse_noise": (noise.impulse, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus_blur": (
        blur.defocus,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": (
        blur.glass,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": (
        blur.motion,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": (
        blur.zoom,
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": (
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": (
        weather.frost,
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "fog": (
        weather.fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": (digital.brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (digital.contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    # Alpha, sigma and the reach of the affine part, as shares of the side.
    "elastic_transform": (
        digital.elastic,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    "pixelate": (digital.pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (digital.jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}


class Draws:
    """Random numbers of a block of pictures; the numbers of a picture do not depend on the pictures after it."""

    def __init__(self, seed: int, block: int, size: int):
        self.key, self.size, self.drawn = [seed, block << 16], size, 0

    def __call__(self, method: str, shape: tuple[int, ...] = (), *arguments: float) -> np.ndarray:
        """Returns `[size, *shape]` numbers by a method of `numpy.random.Generator`."""
        self.drawn += 1
        generator = np.random.Generator(np.random.Philox(key=[self.key[0], self.key[1] + self.drawn]))
        return getattr(generator, method)(*arguments, size=(_BLOCK, *shape))[: self.size]


def corrupt(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Returns the pictures corrupted; picture i in the same way whatever follows it.

    Args:
        images: uint8 `[N, H, W, 3]`, sides of 16 pixels or more.
        name: a key of `CORRUPTION`.
        severity: 1 to 5.
        seed: non-negative.

    Raises:
        ValueError: an unknown name or severity, or pictures of another type or shape.
    """
    if name not in CORRUPTION or severity not in SEVERITIES:
        raise ValueError(f"expected one of {', '.join(CORRUPTION)} and 1 to 5, got {name!r} and {severity!r}.")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < SMALLEST:
        raise ValueError(f"images must be uint8 [N, H, W, 3] of 16 pixels or more, got {images.dtype} {images.shape}.")
    function, small, large = CORRUPTION[name]
    given = (small if max(images.shape[1:3]) <= _SMALL else large)[severity - 1]
    result = np.empty_like(images)

    def fill(block: int) -> None:
        """Corrupts one block; what it draws depends on its place alone, so that blocks may come in any order."""
        part = slice(block * _BLOCK, (block + 1) * _BLOCK)
        x = images[part].astype(np.float32) / 255
        corrupted = function(x, given, Draws(seed, block, len(x)))
        result[part] = np.rint(np.clip(corrupted, 0.0, 1.0) * 255)

    with ThreadPoolExecutor() as threads:
        list(threads.map(fill, range(-(-len(images) // _BLOCK))))
    return result
