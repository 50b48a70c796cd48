"""Light, lens and file: functions of pictures `[B, H, W, 3]` in [0, 1], parameters and `Draws`."""

import numpy as np
from scipy import ndimage


def brightness(x: np.ndarray, amount: float, draw) -> np.ndarray:
    """Raises the value of each colour's hue, saturation and value."""
    top = x.max(-1, keepdims=True)
    raised = np.minimum(top + amount, 1.0)
    # Hue and saturation stay where all three channels are scaled alike; black has neither and becomes grey.
    return np.where(top > 0, x * (raised / np.maximum(top, 1e-6)), raised)


def contrast(x: np.ndarray, share: float, draw) -> np.ndarray:
    """Keeps a share of each channel's difference to its mean."""
    mean = x.mean((1, 2), keepdims=True)
    return (x - mean) * share + mean


def pixelate(x: np.ndarray, share: float, draw) -> np.ndarray:
    """Shrinks the picture to a share of its side and enlarges it without smoothing."""
    for axis in (1, 2):
        side = x.shape[axis]
        small = int(side * share)
        x = np.moveaxis(np.tensordot(x, _box(side, small), (axis, 1)), -1, axis)
        x = np.take(x, np.minimum(((np.arange(side) + 0.5) * small / side).astype(int), small - 1), axis)
    return x


def _box(side: int, small: int) -> np.ndarray:
    """Returns `[small, side]`, the mean over what of the side each small pixel covers, as Pillow's box filter."""
    scale = side / small
    centre = (np.arange(small) + 0.5) * scale
    low, high = (np.floor(centre + half + 0.5).astype(int) for half in (-scale / 2, scale / 2))
    places = np.arange(side)
    weights = ((places >= low[:, None]) & (places < high[:, None])).astype(np.float32)
    return weights / weights.sum(1, keepdims=True)


def jpeg(x: np.ndarray, quality: int, draw) -> np.ndarray:
    """Writes the picture as JPEG and reads it again."""
    import tensorflow as tf

    pixels = tf.constant(np.rint(x * 255).astype(np.uint8))

    def there_and_back(picture):
        return tf.io.decode_jpeg(tf.io.encode_jpeg(picture, quality=quality), dct_method="INTEGER_ACCURATE")

    # One operation over the block, in parallel over its pictures.
    return tf.map_fn(there_and_back, pixels).numpy().astype(np.float32) / 255


def elastic(x: np.ndarray, given: tuple[float, float, float], draw) -> np.ndarray:
    """Bends the picture: strength and smoothness of the bends and the reach of a skew, as shares of the side."""
    alpha, sigma, reach = (share * x.shape[1] for share in given)
    places = []
    for grid in np.mgrid[: x.shape[1], : x.shape[2]][::-1]:
        bend = draw("uniform", x.shape[1:3], -1.0, 1.0)
        if sigma:
            bend = ndimage.gaussian_filter(bend, (0, sigma, sigma), mode="reflect", truncate=3)
        places.append(grid + alpha * bend)
    columns, rows = _skewed(np.stack(places, -1), x.shape[1:3], reach, draw)
    return _sampled(x, rows, columns)


def _skewed(points: np.ndarray, shape: tuple[int, int], reach: float, draw) -> np.ndarray:
    """Returns `[2, B, H, W]`, where the points `[B, H, W, 2]` (x, y) come from when three of the middle are moved."""
    centre, third = np.array(shape)[::-1] // 2, min(shape) // 3
    before = np.array([centre + third, [centre[0] + third, centre[1] - third], centre - third], np.float64)
    after = before + draw("uniform", (3, 2), -reach, reach)
    # The affine map that takes the three points back.
    ones = np.ones((len(after), 3, 1))
    back = np.linalg.solve(np.concatenate([after, ones], 2), np.broadcast_to(before, after.shape))
    return np.einsum("bhwk,bkc->cbhw", points, back[:, :2]) + back[:, 2].T[:, :, None, None]


def _sampled(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Reads each picture at real places `[B, H, W]`, linearly, mirrored beyond its edges."""
    batch = np.arange(len(x))[:, None, None]
    result = np.zeros_like(x)
    for down in (0, 1):
        for right in (0, 1):
            row, column = np.floor(rows) + down, np.floor(columns) + right
            weight = (1 - np.abs(rows - row)) * (1 - np.abs(columns - column))
            inside = (_mirror(row, x.shape[1]), _mirror(column, x.shape[2]))
            result += weight[..., None].astype(np.float32) * x[batch, inside[0], inside[1]]
    return result


def _mirror(places: np.ndarray, side: int) -> np.ndarray:
    """Maps integers to [0, side), the edge pixel twice, as scipy's `reflect`."""
    within = places.astype(int) % (2 * side)
    return np.where(within < side, within, 2 * side - 1 - within)
