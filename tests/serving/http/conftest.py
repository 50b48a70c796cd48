"""One service on the small run, for all tests of the service."""

import numpy as np
import pytest
import tools
from service_client import serving


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="session")
def samples(run):
    return [f.read_bytes() for f in sorted((run / "samples").glob("*.png"))]


@pytest.fixture(scope="session")
def loaded(run):
    """The model of the service, loaded once."""
    from tf_transfer.serving.http.model import ServedModel

    return ServedModel(run / "saved_model" / "1")


@pytest.fixture(scope="session")
def model(run):
    """What the SavedModel itself answers pictures."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(run / "saved_model" / "1"))

    class Bare:
        def predict(self, images):
            found = loaded.signatures["serving_default"](images=tf.constant(images))
            values = {name: value.numpy() for name, value in found.items()}
            values["label"] = np.array([x.decode() for x in values["label"]])
            return values | {"class_names": np.array([x.decode() for x in values["class_names"][0]])}

    return Bare()


@pytest.fixture(scope="session")
def served(run, loaded):
    pytest.importorskip("aiohttp", reason="the service needs it: pip install -e '.[serve]'")
    with serving(run, model=loaded) as opened:
        yield opened
