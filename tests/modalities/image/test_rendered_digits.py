import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tf_transfer.errors import UserError
from tf_transfer.modalities.image.digits import open_digits
from tf_transfer.modalities.image.rendered_digits import open_rendered_digits


def flat(source, split):
    part = source.load(split)
    return part.inputs[..., 0].reshape(len(part), -1), part.labels


def test_pictures_are_a_function_of_number_and_seed():
    first, again, other = (open_rendered_digits(50, seed).load("train") for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert np.abs(first.inputs.astype(int) - other.inputs).mean() > 10
    assert first.inputs.shape == (40, 8, 8, 3) and first.inputs.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(first.labels), [4] * 10)
    assert open_rendered_digits(20, size=32).load("test").inputs.shape[1:] == (32, 32, 3)


def test_white_on_black_alike_in_every_channel_and_all_different():
    images = open_rendered_digits(200).load("train").inputs
    assert (images == images[..., :1]).all()
    edge = np.concatenate([images[:, [0, -1]], images[:, :, [0, -1]].swapaxes(1, 2)], axis=1).mean()
    assert images[:, 2:6, 2:6].mean() > 3 * edge
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_source_domain_for_the_handwritten_digits():
    """Learnable in itself, useful for the handwritten digits, and far from perfect on them."""
    rendered, handwritten = open_rendered_digits(2000), open_digits()
    model = KNeighborsClassifier(3).fit(*flat(rendered, "train"))
    assert model.score(*flat(rendered, "test")) > 0.8
    assert 0.55 < model.score(*flat(handwritten, "test")) < 0.85


@pytest.mark.parametrize("bad", [{"n": 5}, {"n": 20.5}, {"n": True}, {"seed": -1}, {"seed": "x"}, {"size": 9}])
def test_arguments_out_of_range(bad):
    with pytest.raises(UserError, match=rf"rendered_digits\({next(iter(bad))}=...\): expected"):
        open_rendered_digits(**bad)
