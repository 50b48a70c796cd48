import os
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
import warnings

import pytest

from tf_transfer.data import tfds_directory
from tf_transfer.data.tfds_directory import import_tfds, network_answers, prepared_directory
from tf_transfer.errors import UserError


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    urllib.request.install_opener(None)  # It keeps the proxies it was made with.
    yield
    urllib.request.install_opener(None)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(tfds_directory, "network_answers", lambda urls: False)


def prepare(folder):
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").touch()
    return str(folder)


def test_the_newest_prepared_version_is_found(tmp_path):
    prepare(tmp_path / "cifar10/3.0.2")
    newest = prepare(tmp_path / "cifar10/3.0.10")
    (tmp_path / "cifar10/4.0.0").mkdir()  # Not prepared.
    prepare(tmp_path / "cifar10/5.0.0.incompleteX")
    assert prepared_directory("cifar10", str(tmp_path)) == newest
    assert prepared_directory("cifar10:3.0.2", str(tmp_path)) == str(tmp_path / "cifar10/3.0.2")


def test_configs(tmp_path, offline):
    default = prepare(tmp_path / "mnist_corrupted/identity/1.0.0")
    fog = prepare(tmp_path / "mnist_corrupted/fog/1.0.0")
    assert prepared_directory("mnist_corrupted/fog", str(tmp_path)) == fog
    assert prepared_directory("mnist_corrupted", str(tmp_path)) == default
    with pytest.raises(UserError, match="'mnist_corrupted/zigzag' is not in"):
        prepared_directory("mnist_corrupted/zigzag", str(tmp_path))


def test_a_data_set_of_ones_own_needs_no_builder(tmp_path):
    mine = prepare(tmp_path / "my_own_pictures/1.0.0")
    assert prepared_directory("my_own_pictures", str(tmp_path)) == mine


def test_the_directory_defaults_to_the_environment_and_the_home(tmp_path, monkeypatch):
    from_environment = prepare(tmp_path / "environment/mnist/3.0.1")
    from_home = prepare(tmp_path / "home/tensorflow_datasets/mnist/3.0.1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert prepared_directory("mnist", None) == from_home
    assert prepared_directory("mnist", "~/tensorflow_datasets") == from_home
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "environment"))
    assert prepared_directory("mnist", None) == from_environment


@pytest.mark.parametrize(
    "name", ["cifar11", "imagnet2012", "../cifar10", "cifar10/../..", "x\ny", "", "huggingface:mnist"]
)
def test_an_unknown_name_lists_a_few_near_ones(tmp_path, name):
    with pytest.raises(UserError, match=r"Unknown data set .*digits, a folder, a .csv file and 4.. names of") as error:
        prepared_directory(name, str(tmp_path), ["digits"])
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    nearest = {"cifar11": "cifar10", "imagnet2012": "imagenet2012"}.get(name, "")
    assert nearest in str(error.value)


def test_not_prepared_and_no_network(tmp_path, offline):
    with pytest.raises(UserError) as error:
        prepared_directory("cifar10", str(tmp_path))
    message = str(error.value)
    recipe = "tfds.builder('cifar10', data_dir='DIR').download_and_prepare()"
    for part in (f"'cifar10' is not in {tmp_path}", "network", recipe, "--data_dir", "--dataset=digits", "folder(path"):
        assert part in message
    assert "\n" not in message and not list(tmp_path.iterdir())


def test_with_a_network_the_data_set_is_prepared(tmp_path, monkeypatch):
    class Builder:
        data_path = tmp_path / "cifar10/3.0.2"

        def download_and_prepare(self):
            prepare(self.data_path)

    asked = []
    tfds = import_tfds()
    monkeypatch.setattr(tfds_directory, "network_answers", lambda urls: asked.extend(urls) or True)
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Builder())
    assert prepared_directory("cifar10", str(tmp_path)) == str(Builder.data_path)
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in asked

    def fail(self):
        raise AssertionError("manual\ndownload")

    monkeypatch.setattr(Builder, "download_and_prepare", fail)
    with pytest.raises(UserError, match=r"'mnist' could not be prepared in .*: manual download. Try: python -c"):
        prepared_directory("mnist", str(tmp_path))


@pytest.fixture
def deaf():
    """A server that accepts a connection and never says a word; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_host_is_given_up_in_time(deaf):
    start = time.monotonic()
    assert not network_answers([f"https://{deaf}/a"], seconds=0.3)
    assert time.monotonic() - start < 2


def test_a_hanging_name_look_up_is_given_up_in_time(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: release.wait(20) and [])
    start = time.monotonic()
    assert not network_answers(["https://name.example/"], seconds=0.3)
    assert time.monotonic() - start < 2
    release.set()


def test_a_refusal_ends_the_wait_at_once(deaf):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start = time.monotonic()
    assert not network_answers([f"https://127.0.0.1:{port}/"], seconds=30)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(("code", "expected"), [(200, True), (403, True), (404, True), (407, False), (503, False)])
def test_any_answer_of_a_server_counts_but_not_a_proxys(monkeypatch, code, expected):
    def answer(request, timeout):
        assert request.get_method() == "HEAD" and request.full_url == "https://name.example/"
        if code != 200:
            raise urllib.error.HTTPError(request.full_url, code, "", {}, None)
        return open(os.devnull)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert network_answers(["http://name.example/deep/file.zip"], seconds=5) is expected


def test_one_answering_host_is_enough(monkeypatch):
    release = threading.Event()

    def answer(request, timeout):
        if "slow" in request.full_url:
            release.wait(20)
        return open(os.devnull)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    start = time.monotonic()
    assert network_answers(["https://slow.example/", "https://fast.example/"], seconds=10)
    assert time.monotonic() - start < 5
    release.set()


def test_the_proxy_of_the_environment_is_used(monkeypatch):
    heard = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            client, _ = server.accept()
            with client:
                heard.put(client.recv(1000))
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert not network_answers(["https://name.example/"], seconds=10)
    assert heard.get(timeout=5).startswith(b"CONNECT name.example:443")


def test_quiet_restores_the_log(caplog):
    import logging

    logger = logging.getLogger("absl")
    before = logger.level
    with tfds_directory.quiet():
        logger.warning("hidden")
        warnings.warn("hidden", stacklevel=1)
    assert logger.level == before and not caplog.records
