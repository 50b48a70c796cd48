"""Blur: functions of pictures `[B, H, W, 3]` in [0, 1], parameters and `Draws`."""

import numpy as np
from scipy import ndimage


def smooth(x: np.ndarray, sigma: float, mode: str = "nearest") -> np.ndarray:
    """Gaussian blur of each picture, as scikit-image does it."""
    return ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode=mode, truncate=4.0)


def defocus(x: np.ndarray, given: tuple[float, float], draw) -> np.ndarray:
    """Blurs by a disk: its radius, and the softness of its edge."""
    radius, alias = given
    reach = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    disk = (np.square(reach)[:, None] + np.square(reach) <= radius**2).astype(np.float32)
    steps = 1 if radius <= 8 else 2
    edge = np.exp(-np.square(np.arange(-steps, steps + 1)) / (2 * alias**2))
    kernel = disk / disk.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, edge / edge.sum(), axis, mode="mirror")
    rows = np.flatnonzero(kernel.any(1))
    kernel = kernel[rows[0] : rows[-1] + 1, rows[0] : rows[-1] + 1]
    return ndimage.correlate(x, kernel[None, :, :, None].astype(np.float32), mode="mirror")


def glass(x: np.ndarray, given: tuple[float, int, int], draw) -> np.ndarray:
    """Swaps each pixel with one nearby, several times over, between two slight blurs."""
    sigma, reach, times = given
    x = np.floor(smooth(x, sigma) * 255).astype(np.float32) / 255
    batch, height, width = np.arange(len(x)), x.shape[1], x.shape[2]
    for _ in range(times):
        steps = draw("integers", (height, width, 2), -reach, reach)
        for h in range(height - 1 - reach, reach - 1, -1):
            for w in range(width - 1 - reach, reach - 1, -1):
                there = batch, h + steps[:, h, w, 1], w + steps[:, h, w, 0]
                kept = x[:, h, w].copy()
                x[:, h, w] = x[there]
                x[there] = kept
    return smooth(x, sigma)


def motion(x: np.ndarray, given: tuple[float, float], draw) -> np.ndarray:
    """Moves the camera while the shutter is open: radius and sigma, at an angle of at most 45 degrees."""
    return moved(x, *given, np.deg2rad(draw("uniform", (), -45.0, 45.0)))


def moved(x: np.ndarray, radius: float, sigma: float, angle: np.ndarray) -> np.ndarray:
    """Blurs each picture along its angle in radians `[B]`, forwards, as ImageMagick does."""
    width = 2 * int(np.ceil(radius)) + 1
    weights = np.exp(-np.square(np.arange(width)) / (2 * sigma**2))
    height, wide = x.shape[1:3]
    rows, columns = np.arange(height)[None, :, None], np.arange(wide)[None, None]
    batch = np.arange(len(x))[:, None, None]
    blurred = np.zeros_like(x)
    for step, weight in enumerate(weights / weights.sum()):
        # At the edges the outermost pixel goes on.
        down = np.ceil(step * np.sin(angle) - 0.5).astype(int)[:, None, None]
        right = np.ceil(step * np.cos(angle) - 0.5).astype(int)[:, None, None]
        from_row, from_column = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, wide - 1)
        blurred += np.float32(weight) * x[batch, from_row, from_column]
    return blurred


def zoom(x: np.ndarray, given: tuple[float, float], draw) -> np.ndarray:
    """Zooms in while the shutter is open: how far, and in what steps."""
    factors = np.arange(1, *given)
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges the middle of each picture to its whole side, linearly."""
    places = []
    for side in x.shape[1:3]:
        crop = int(np.ceil(side / factor))
        top = (side - crop) // 2
        enlarged = round(crop * factor)
        trim = (enlarged - side) // 2
        # Corners on corners, as scipy's zoom.
        places.append(top + (np.arange(side) + trim) * (crop - 1) / max(1, enlarged - 1))
    return _linear(_linear(x, places[0], 1), places[1], 2)


def _linear(x: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    low = np.clip(np.floor(places).astype(int), 0, x.shape[axis] - 1)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    part = (places - low).astype(np.float32).reshape(shape)
    return np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part
