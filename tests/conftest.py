"""The ground every test stands on: two logical CPUs, no GPU, no window, nothing written outside tmp_path."""

import gc
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("TF_TRANSFER_SHARED_DATA", ROOT / "../shared/data")).resolve()

# Features that a test keeps are gone with the tests; the fonts that Matplotlib has listed are not listed anew.
_CACHE = tempfile.TemporaryDirectory()
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
os.environ["XDG_CACHE_HOME"] = _CACHE.name

# Libraries read these at import, and child processes inherit them.
os.environ.update(TF_CPP_MIN_LOG_LEVEL="2", CUDA_VISIBLE_DEVICES="", MPLBACKEND="Agg")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
if (SHARED_DATA / "keras").is_dir():
    os.environ["KERAS_HOME"] = str(SHARED_DATA / "keras")


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the tests marked `large` too: every network of a family")


def pytest_collection_modifyitems(config, items):
    """Leaves out what is marked `large`, unless `--all` or `-m large` asks for it."""
    if config.getoption("--all") or "large" in config.getoption("markexpr"):
        return
    large = [item for item in items if item.get_closest_marker("large")]
    config.hook.pytest_deselected(items=large)
    items[:] = [item for item in items if not item.get_closest_marker("large")]


class _TwoCpus:
    """Import hook: whoever imports TensorFlow first gets it with two logical CPUs.

    The devices must be set before TensorFlow's first operation. A hook sets them in time without
    making tests that need no TensorFlow wait for its import.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_configure(module):
            execute(module)
            cpu = module.config.list_physical_devices("CPU")[0]
            module.config.set_logical_device_configuration(cpu, [module.config.LogicalDeviceConfiguration()] * 2)
            # Its half a million objects stay: without them a collection takes a fifth of the time.
            gc.freeze()

        spec.loader.exec_module = execute_and_configure
        return spec


sys.meta_path.insert(0, _TwoCpus())


@pytest.fixture(autouse=True)
def _inside_tmp_path(tmp_path, monkeypatch):
    """A test that writes to a relative path writes into its own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}; set TF_TRANSFER_SHARED_DATA to its folder")
    return SHARED_DATA


@pytest.fixture
def write_picture():
    """Writes a noise picture of its own seed, whose format follows from its extension; returns its pixels."""
    import numpy as np
    from PIL import Image

    def write(path, seed=0, size=(6, 6)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(os.path.splitext(path)[1].lower(), "PNG")
        with open(path, "wb") as file:
            Image.fromarray(pixels).save(file, kind)
        return pixels

    return write


@pytest.fixture(params=["one", "mirrored"])
def strategy(request):
    from tf_transfer.machine.strategy import make_strategy

    return make_strategy(request.param)


@pytest.fixture
def one_device():
    from tf_transfer.machine.strategy import make_strategy

    return make_strategy("one")
