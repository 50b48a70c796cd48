"""Printed digits that the package draws from fonts: a labelled source domain for handwritten digits."""

import math
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tf_transfer.data.array_source import ArraySource
from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities import base

_FACES = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "BolIta", "Italic"),
}
FONTS = tuple(f"{family}{style}.ttf" for family, styles in _FACES.items() for style in styles)
"""The font files that matplotlib ships and that are drawn with."""

CANVAS = 64
"""Side of the drawing, which is reduced to the size asked for."""


def open_rendered_digits(n: int = 6000, seed: int = 0, size: int = 8, test_fraction: float = 0.2) -> ArraySource:
    """Draws `n` printed digits, white on black, every class equally often.

    The handwritten digits are 32x32 bitmaps counted in 4x4 blocks; these are drawn large and reduced
    by block averages in the same way, so that the two domains differ in the shapes and not in the
    camera. The pictures are a pure function of (n, seed, size).

    Args:
        n: how many, 20 to 1,000,000.
        seed: chooses fonts, slants, positions, stroke widths and noise.
        size: side in pixels: 8, 16, 32 or 64.
        test_fraction: share of every class that tests.

    Raises:
        UserError: an argument is out of its range.
    """
    _check("n", n, range(20, 1_000_001), "a whole number from 20 to 1000000")
    _check("seed", seed, range(2**63), "a whole number from 0")
    _check("size", size, (8, 16, 32, 64), "8, 16, 32 or 64")
    glyphs = _Glyphs()
    images = np.stack([draw(glyphs, i % 10, size, np.random.default_rng((seed, i))) for i in range(n)])
    labels, names = np.arange(n) % 10, tuple("0123456789")
    return ArraySource("rendered_digits", images, labels, names, test_fraction, base.find("image"))


def _check(name: str, value: object, allowed: range | tuple, expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise UserError(f"rendered_digits({name}=...): expected {expected}, got {one_line(value)!r}.")


class _Glyphs:
    """Digits in each font and stroke width, cut to their ink and scaled to the canvas height; made once each."""

    def __init__(self):
        import matplotlib

        self._folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
        self._made: dict[tuple, Image.Image] = {}

    def __call__(self, digit: int, font: str, stroke: int) -> Image.Image:
        if (digit, font, stroke) not in self._made:
            self._made[digit, font, stroke] = self._make(digit, font, stroke)
        return self._made[digit, font, stroke]

    def _make(self, digit: int, font: str, stroke: int) -> Image.Image:
        face = ImageFont.truetype(os.path.join(self._folder, font), CANVAS)
        page = Image.new("L", (3 * CANVAS, 3 * CANVAS))
        ImageDraw.Draw(page).text((CANVAS, CANVAS), str(digit), 255, face, stroke_width=stroke)
        ink = page.crop(page.getbbox())
        ink = ink.resize((max(1, round(ink.width * CANVAS / ink.height)), CANVAS), Image.Resampling.BICUBIC)
        glyph = Image.new("L", (CANVAS, CANVAS))
        glyph.paste(ink, ((CANVAS - ink.width) // 2, 0))
        return glyph


def draw(glyphs: _Glyphs, digit: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws one digit with a random font, stroke, slant, place, sharpness, contrast and noise.

    Returns:
        uint8 `[size, size, 3]`, the three channels alike.
    """
    glyph = glyphs(digit, FONTS[rng.integers(len(FONTS))], int(rng.integers(0, 3)))
    placed = glyph.transform(glyph.size, Image.Transform.AFFINE, _placement(rng), Image.Resampling.BILINEAR)
    soft = placed.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 2.5)))
    grey = np.asarray(soft.resize((size, size), Image.Resampling.BOX), np.float32)
    grey = grey * rng.uniform(0.9, 1.6) + rng.normal(0.0, rng.uniform(0.0, 12.0), grey.shape)
    return np.repeat(np.clip(np.round(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def _placement(rng: np.random.Generator) -> tuple[float, ...]:
    """Returns the coefficients that map a point of the result to one of the glyph, both around the centre."""
    angle, shear = rng.normal(0.0, math.radians(10.0)), rng.normal(0.0, 0.2)
    high, wide = rng.uniform(0.85, 1.05), rng.uniform(0.6, 1.1)
    shift = rng.normal(0.0, 0.05 * CANVAS, 2)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.array([[wide, shear], [0.0, high]]))
    offset = CANVAS / 2 - inverse @ (CANVAS / 2 + shift)
    return (inverse[0, 0], inverse[0, 1], offset[0], inverse[1, 0], inverse[1, 1], offset[1])
