"""Corruptions: the published parameters, deterministic, worse by severity, and equal to other implementations."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tf_transfer.modalities.image.corruptions import CORRUPTION, SEVERITIES, blur, corrupt, digital, noise, weather
from tf_transfer.modalities.image.corruptions.corrupt import Draws


def pictures(n=12, side=32, seed=0):
    """Smooth pictures of all levels, as photographs are."""
    rng = np.random.default_rng(seed)
    x = ndimage.gaussian_filter(rng.random((n, side, side, 3)), (0, side / 12, side / 12, 0))
    x = (x - x.min((1, 2, 3), keepdims=True)) / np.ptp(x, (1, 2, 3), keepdims=True)
    return np.rint(x * 255).astype(np.uint8)


def distance(a, b):
    return float(np.mean(np.abs(a.astype(float) - b)))


def unlike(a, b):
    """One minus the correlation of the pixels, in the mean over the pictures."""
    return 1.0 - float(np.mean([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]))


@pytest.mark.parametrize("side", [32, 80])
@pytest.mark.parametrize("name", CORRUPTION)
def test_it_is_a_function_of_seed_and_place_and_worse_by_severity(name, side):
    images = pictures(70 if side == 32 else 6, side)
    made = {s: corrupt(images, name, s) for s in SEVERITIES}
    assert all(m.dtype == np.uint8 and m.shape == images.shape for m in made.values())
    # The first pictures do not depend on those that follow, and nothing on how often it is asked.
    np.testing.assert_array_equal(corrupt(images[:3], name, 3), made[3][:3])
    np.testing.assert_array_equal(corrupt(images, name, 3), made[3])
    # Frost and snow cover the picture: what they leave of it, not how bright it becomes, tells how bad they are.
    far = unlike if name in ("frost", "snow") else distance
    found = [far(made[s], images) for s in SEVERITIES]
    assert min(distance(made[s], images) for s in SEVERITIES) > 0.05
    rising = sum(b > a for a, b in itertools.pairwise(found))
    # The published levels of glass, motion and elastic are not ordered by the pixels that change: elastic skews less
    # where it bends more.
    if name != "elastic_transform":
        assert rising >= (2 if name in ("glass_blur", "snow", "motion_blur") else 4), found
        assert found[-1] > found[0], found


@pytest.mark.parametrize("name", [n for n in CORRUPTION if "noise" in n or n in ("snow", "fog", "frost", "glass_blur")])
def test_another_seed_is_another_noise(name):
    images = pictures(4)
    assert not np.array_equal(corrupt(images, name, 3, seed=1), corrupt(images, name, 3, seed=2))
    both = corrupt(np.repeat(images[:1], 2, 0), name, 3)
    assert not np.array_equal(both[0], both[1]), "two pictures draw different numbers"


def test_the_parameters_are_those_of_cifar_10_c_and_imagenet_c():
    small = {name: given for name, (_, given, _) in CORRUPTION.items()}
    assert len(CORRUPTION) == 15 and all(len(given) == 5 for _, *both in CORRUPTION.values() for given in both)
    assert small["gaussian_noise"] == (0.04, 0.06, 0.08, 0.09, 0.10)
    assert small["shot_noise"] == (500, 250, 100, 75, 50) and small["jpeg_compression"] == (80, 65, 58, 50, 40)
    assert CORRUPTION["contrast"][1:] == ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))


def test_the_published_functions_of_one_picture_give_the_same():
    """Brightness, contrast, defocus, JPEG and zoom, written as the authors wrote them, picture by picture."""
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    images = pictures(3)
    for i, x in enumerate(images / 255.0):
        hsv = rgb_to_hsv(x)
        hsv[..., 2] = np.clip(hsv[..., 2] + 0.15, 0, 1)
        assert distance(corrupt(images, "brightness", 3)[i], hsv_to_rgb(hsv) * 255) < 0.6
        mean = x.mean((0, 1), keepdims=True)
        assert distance(corrupt(images, "contrast", 3)[i], np.clip((x - mean) * 0.4 + mean, 0, 1) * 255) < 0.6
        file = io.BytesIO()
        Image.fromarray(images[i]).save(file, "JPEG", quality=58)
        assert distance(corrupt(images, "jpeg_compression", 3)[i], np.asarray(Image.open(file))) < 4
        small = Image.fromarray(images[i]).resize((27, 27), Image.Resampling.BOX)
        expected = np.asarray(small.resize((32, 32), Image.Resampling.NEAREST))
        assert distance(corrupt(images, "pixelate", 3)[i], expected) < 1.0


def test_zoom_is_that_of_scipy():
    x = pictures(2)[0] / 255.0
    for factor in (1.06, 1.2, 1.31):
        crop = int(np.ceil(32 / factor))
        top = (32 - crop) // 2
        expected = ndimage.zoom(x[top : top + crop, top : top + crop], (factor, factor, 1), order=1)
        trim = (expected.shape[0] - 32) // 2
        expected = expected[trim : trim + 32, trim : trim + 32]
        np.testing.assert_allclose(blur.zoomed(x[None].astype(np.float32), factor)[0], expected, atol=0.02)


def test_noise_has_the_law_it_says():
    x = np.full((64, 32, 32, 3), 128 / 255, np.float32)
    draw = Draws(0, 0, 64)
    assert np.std(noise.gaussian(x, 0.1, draw) - x) == pytest.approx(0.1, rel=0.02)
    counted = noise.shot(x, 50, draw) * 50
    assert counted.mean() == pytest.approx(50 * 128 / 255, rel=0.01)
    assert counted.var() == pytest.approx(50 * 128 / 255, rel=0.03)
    np.testing.assert_allclose(counted, np.rint(counted), atol=1e-4)
    spoilt = noise.impulse(x, 0.07, draw)
    assert [(spoilt == v).mean() for v in (0, 1)] == pytest.approx([0.035, 0.035], rel=0.1)


def test_motion_blurs_along_its_angle_alone():
    x = np.zeros((2, 33, 33, 3), np.float32)
    x[:, 16, 16] = 1
    found = blur.moved(x, 6, 2, np.array([0.0, np.pi / 2]))
    assert found.sum((1, 2, 3)) == pytest.approx([3, 3], rel=1e-5)
    assert set(np.nonzero(found[0])[0]) == {16} and set(np.nonzero(found[1])[1]) == {16}


def test_plasma_fills_the_square_and_glass_keeps_the_pixels():
    cloud = weather.plasma(32, 3.0, Draws(0, 0, 4))
    assert cloud.shape == (4, 32, 32) and (cloud.min((1, 2)) == 0).all() and (cloud.max((1, 2)) == 1).all()
    x = pictures(2).astype(np.float32) / 255
    swapped = blur.glass(x, (0.0, 1, 1), Draws(0, 0, 2))
    # Between blurs of nothing, pixels only change their places.
    before = np.floor(x * 255) / 255
    np.testing.assert_allclose(np.sort(swapped, axis=None), np.sort(before, axis=None), atol=1e-6)


def test_elastic_without_strength_changes_nothing():
    x = pictures(2).astype(np.float32) / 255
    np.testing.assert_allclose(digital.elastic(x, (0, 0, 0), Draws(0, 0, 2)), x, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "name", "severity"),
    [
        (pictures(1), "rain", 1),
        (pictures(1), "fog", 0),
        (pictures(1).astype(float), "fog", 1),
        (pictures(1)[0], "fog", 1),
    ],
)
def test_what_it_does_not_take_is_refused(images, name, severity):
    with pytest.raises(ValueError, match=r"expected one of|images must be"):
        corrupt(images, name, severity)
