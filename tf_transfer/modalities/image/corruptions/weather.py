"""Weather: functions of pictures `[B, H, W, 3]` in [0, 1], parameters and `Draws`."""

import functools

import numpy as np

from tf_transfer.modalities.image.corruptions import blur


def fog(x: np.ndarray, given: tuple[float, float], draw) -> np.ndarray:
    """Adds a plasma cloud: how much of it, and how fast its finer parts fade."""
    amount, decay = given
    top = x.max((1, 2, 3), keepdims=True)
    cloud = plasma(max(x.shape[1:3]), decay, draw)[:, : x.shape[1], : x.shape[2], None]
    return (x + amount * cloud) * top / np.maximum(top + amount, 1e-6)


def plasma(side: int, decay: float, draw) -> np.ndarray:
    """Returns `[B, size, size]` clouds in [0, 1] by diamonds and squares, size the power of 2 from `side` on."""
    size = 1 << (side - 1).bit_length()
    cloud, step, wild = np.zeros((draw.size, size, size)), size, 100.0
    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        square = corners + np.roll(corners, -1, 1)
        square = square + np.roll(square, -1, 2)
        cloud[:, half::step, half::step] = square / 4 + wild * draw("uniform", square.shape[1:], -wild, wild)
        centres, corners = cloud[:, half::step, half::step], cloud[:, ::step, ::step]
        left_right = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 2)
        up_down = centres + np.roll(centres, 1, 2) + corners + np.roll(corners, -1, 1)
        cloud[:, ::step, half::step] = left_right / 4 + wild * draw("uniform", square.shape[1:], -wild, wild)
        cloud[:, half::step, ::step] = up_down / 4 + wild * draw("uniform", square.shape[1:], -wild, wild)
        step, wild = half, wild / decay
    cloud -= cloud.min((1, 2), keepdims=True)
    return (cloud / np.maximum(cloud.max((1, 2), keepdims=True), 1e-12)).astype(np.float32)


def frost(x: np.ndarray, given: tuple[float, float], draw) -> np.ndarray:
    """Lays ice crystals over the picture: the shares of the picture and of the ice."""
    own, ice = given
    crystals = _crystals()
    height, width = x.shape[1:3]
    scale = max(1, 256 // max(height, width) // 2)
    texture = crystals[::scale, ::scale]
    top = draw("integers", (), 0, max(1, texture.shape[0] - height))
    left = draw("integers", (), 0, max(1, texture.shape[1] - width))
    rows = (top[:, None, None] + np.arange(height)[:, None]) % texture.shape[0]
    columns = (left[:, None, None] + np.arange(width)[None]) % texture.shape[1]
    # Bluish white, as ice is.
    tint = np.array([0.85, 0.95, 1.0], np.float32)
    return own * x + ice * texture[rows, columns][..., None] * tint


@functools.cache
def _crystals(size: int = 512, needles: int = 1500) -> np.ndarray:
    """Draws needles of ice that grow from seeds, brighter where they are dense; always the same."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng(7)
    picture = Image.new("L", (size, size), 140)
    pen = ImageDraw.Draw(picture)
    for x, y in random.uniform(0, size, (needles // 6, 2)):
        turn = random.uniform(0, np.pi / 3)
        for arm in range(6):
            angle, length = turn + arm * np.pi / 3, random.uniform(5, size / 12)
            end = (x + length * np.cos(angle), y + length * np.sin(angle))
            pen.line([(x, y), end], fill=int(random.integers(190, 256)), width=int(random.integers(1, 4)))
    texture = np.asarray(picture, np.float32) / 255
    return 0.6 * texture + 0.4 * blur.smooth(texture[None, :, :, None], 3.0, "wrap")[0, :, :, 0]


def snow(x: np.ndarray, given: tuple[float, ...], draw) -> np.ndarray:
    """Lets flakes fall: their density, spread, size and least brightness, the wind, and how far the scene whitens."""
    mean, deviation, size, least, radius, sigma, own = given
    flakes = draw("normal", x.shape[1:3], mean, deviation).astype(np.float32)[..., None]
    flakes = blur.zoomed(flakes, size)
    flakes = np.clip(np.where(flakes < least, 0.0, flakes), 0.0, 1.0)
    flakes = blur.moved(flakes, radius, sigma, np.deg2rad(draw("uniform", (), -135.0, -45.0)))
    grey = (x @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    x = own * x + (1 - own) * np.maximum(x, grey * 1.5 + 0.5)
    return x + flakes + flakes[:, ::-1, ::-1]
