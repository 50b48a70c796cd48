"""Noise: functions of pictures `[B, H, W, 3]` in [0, 1], a parameter and `Draws`."""

import functools

import numpy as np


def gaussian(x: np.ndarray, deviation: float, draw) -> np.ndarray:
    """Adds the noise of a sensor in the dark."""
    return x + deviation * draw("standard_normal", x.shape[1:]).astype(np.float32)


def shot(x: np.ndarray, photons: float, draw) -> np.ndarray:
    """Counts photons: Poisson noise, where the brightest value has this many photons on average."""
    table, counts = _poisson(photons)
    level = np.rint(x * 255).astype(np.int64)
    # The tables of the 256 levels stand one after the other, each raised by its number: one search finds all.
    found = np.searchsorted(table, level + draw("random", x.shape[1:]), side="left") - level * counts
    return (found / photons).astype(np.float32)


@functools.lru_cache(maxsize=5)
def _poisson(photons: float) -> tuple[np.ndarray, int]:
    from scipy.stats import poisson

    counts = int(photons + 10 * photons**0.5 + 20)
    levels = np.arange(256)[:, None]
    table = poisson.cdf(np.arange(counts), levels / 255 * photons) + levels
    table[:, -1] = levels[:, 0] + 1
    return table.ravel(), counts


def impulse(x: np.ndarray, share: float, draw) -> np.ndarray:
    """Sets a share of the values to 0 or to 1."""
    uniform = draw("random", x.shape[1:])
    return np.where(uniform < share / 2, 0.0, np.where(uniform < share, 1.0, x)).astype(np.float32)
