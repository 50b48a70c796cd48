"""One service on the small run, for all tests of the service."""

import pytest
import tools
from service_client import serving


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="session")
def loaded(run):
    """The model of the service, loaded once."""
    from tf_transfer.service.model import ServedModel

    return ServedModel(run / "saved_model" / "1")


@pytest.fixture(scope="session")
def model(run):
    from tf_transfer import serving as package

    return package.load(run)


@pytest.fixture(scope="session")
def served(run, loaded):
    pytest.importorskip("aiohttp", reason="the service needs it: pip install 'tf_transfer[serve]'")
    with serving(run, model=loaded) as opened:
        yield opened
