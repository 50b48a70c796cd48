"""Finds the folder of a prepared TFDS data set: on the disk first, then by downloading it."""

import difflib
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import AbstractContextManager
from http.client import HTTPException
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from tf_transfer.errors import MissingDataError, UserError, one_line
from tf_transfer.machine.quiet import without_warnings

_NAME = re.compile(r"(?P<base>[a-z]\w*)(/(?P<config>\w[\w.=+-]*))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_TFDS_HOST = "https://storage.googleapis.com/"
"""Host of many prepared data sets, which TFDS tries before the original site."""
_NO_SERVER = (407, 502, 503, 504)
"""HTTP codes by which a proxy says that it could not reach the host."""


def quiet() -> AbstractContextManager:
    """Inside, TFDS prints no warnings about its own deprecated calls."""
    return without_warnings("absl")


def import_tfds() -> ModuleType:
    """Imports tensorflow_datasets without its warnings.

    Raises:
        UserError: it is not installed, or not completely.
    """
    try:
        with quiet():
            import tensorflow_datasets
    except ImportError as e:
        raise UserError(f"TFDS names need tensorflow-datasets, pip install tensorflow-datasets: {one_line(e)}") from e
    return tensorflow_datasets


def prepared_directory(name: str, data_dir: str | None, known: Iterable[str] = ()) -> str:
    """Returns the directory of a prepared data set; prepares it where needed and possible.

    Args:
        name: a TFDS name, `cifar10`, `imagenet_resized/32x32` or `mnist:3.0.1`.
        data_dir: where TFDS keeps its data sets; None is `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
        known: further names to list where `name` is unknown.

    Raises:
        UserError: unknown name; not prepared, and the network does not answer; or preparing failed.
    """
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets")
    data_dir = os.path.abspath(os.path.expanduser(data_dir))
    parts = _NAME.fullmatch(str(name))
    if parts and (directory := _look(data_dir, **parts.groupdict())):
        return directory
    tfds = import_tfds()
    # Without the community's list, whose download may take minutes to fail.
    builders = tfds.list_builders(with_community_datasets=False)
    if not parts or parts["base"] not in builders:
        raise _unknown(str(name), builders, known)
    builder = tfds.builder_cls(parts["base"])
    if not parts["config"] and builder.BUILDER_CONFIGS:
        default = builder.DEFAULT_BUILDER_CONFIG_NAME or builder.BUILDER_CONFIGS[0].name
        if directory := _look(data_dir, parts["base"], default, parts["version"]):
            return directory
    if not network_answers([_TFDS_HOST, *list(builder.url_infos)[:1]]):
        raise MissingDataError(
            f"The data set {name!r} is not in {one_line(data_dir)} and the network does not answer. Run on a connected "
            f"machine: {_recipe(name, 'DIR')} and copy DIR here as --data_dir, or use --dataset=digits or "
            "folder(path=...)."
        )
    return _download(tfds, name, data_dir)


def _look(data_dir: str, base: str, config: str | None, version: str | None) -> str | None:
    """Returns the directory of the given or the newest version, or None."""
    place = os.path.join(data_dir, base, config or "")
    try:
        versions = [v for v in os.listdir(place) if _VERSION.fullmatch(v) and version in (None, v)]
    except OSError:
        return None
    ready = [v for v in versions if os.path.isfile(os.path.join(place, v, "dataset_info.json"))]
    newest = max(ready, key=lambda v: tuple(map(int, v.split("."))), default=None)
    return newest and os.path.join(place, newest)


def _unknown(name: str, builders: list[str], known: Iterable[str]) -> UserError:
    near = difflib.get_close_matches(name.lower().split("/")[0], [*builders, *known], n=8, cutoff=0.5)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    listed = ", ".join([*known, "a folder", "a .csv file"])
    return UserError(f"Unknown data set {one_line(name)!r}.{hint} Known: {listed} and {len(builders)} names of TFDS.")


def _recipe(name: str, data_dir: str) -> str:
    prepare = f"tfds.builder({name!r}, data_dir={data_dir!r}).download_and_prepare()"
    return f'python -c "import tensorflow_datasets as tfds; {prepare}"'


def network_answers(urls: list[str], seconds: float = 4.0) -> bool:
    """Returns whether one of the URLs' hosts answers over HTTPS, through the proxies of the environment.

    A daemon thread asks each host, since a name look-up or a TLS handshake may ignore the time limit.
    """
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    hosts = {urlsplit(url).netloc for url in urls}
    for host in hosts:
        threading.Thread(target=lambda h: answers.put(_answers(h, seconds)), args=(host,), daemon=True).start()
    deadline = time.monotonic() + seconds
    for _ in hosts:
        try:
            if answers.get(timeout=max(0.0, deadline - time.monotonic())):
                return True
        except queue.Empty:
            return False
    return False


def _answers(host: str, seconds: float) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"https://{host}/", method="HEAD"), timeout=seconds):
            return True
    except urllib.error.HTTPError as e:
        return e.code not in _NO_SERVER
    except (OSError, ValueError, HTTPException):
        return False


def _download(tfds: ModuleType, name: str, data_dir: str) -> str:
    try:
        builder: Any = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    except Exception as e:  # The code of a data set may raise anything.
        raise UserError(
            f"The data set {name!r} could not be prepared in {one_line(data_dir)}: {one_line(e) or type(e).__name__}. "
            f"Try: {_recipe(name, data_dir)}"
        ) from e
    return os.fspath(builder.data_path)
