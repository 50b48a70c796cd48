"""The serve phase: checks options, opens the socket, serves, and ends cleanly on a signal."""

import asyncio
import contextlib
import errno
import functools
import importlib.util
import logging
import os
import re
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tf_transfer.console import Console
from tf_transfer.errors import UserError, one_line
from tf_transfer.machine import signals
from tf_transfer.serving import locate
from tf_transfer.serving.http.limits import Limits

LOOPBACK = "127.0.0.1"
# Seconds for which an unwanted body is read and dropped, so that its sender reads the answer.
_LINGER = 2.0


@dataclass(frozen=True)
class Prepared:
    """A service ready to start: model and options have been checked, and the port is open.

    Attributes:
        folder: the numbered folder of the SavedModel.
        name: of the model.
        version: of the model.
        socket: bound and listening, so that early clients wait until the model is loaded.
        limits: for clients.
    """

    folder: Path
    name: str
    version: int
    socket: socket.socket
    limits: Limits


def prepare(saved_model: str, options: Mapping[str, str | None]) -> Prepared:
    """Finds the model and takes the port. Needs no TensorFlow.

    Args:
        saved_model: the numbered folder, the one above it, or the run directory.
        options: texts of `host`, `port`, `model_name`, `max_batch`, `max_request_mb`, `rate_limit`, or None.

    Raises:
        UserError: one of them is wrong, the port is taken, or a package is missing.
    """
    packages = {"aiohttp": "aiohttp", "prometheus_client": "prometheus-client"}
    if missing := [name for package, name in packages.items() if importlib.util.find_spec(package) is None]:
        raise UserError(
            f"--phase=serve needs {' and '.join(missing)}: pip install {' '.join(packages.values())}, or in a checkout "
            "of this package pip install -e '.[serve]'."
        )
    limits = Limits()
    megabytes = _number(options, "max_request_mb", int, limits.request_bytes >> 20, 1, 1024)
    limits = Limits(
        max_batch=_number(options, "max_batch", int, limits.max_batch, 1, 1024),
        request_bytes=megabytes << 20,
        held_bytes=8 * megabytes << 20,
        rate=_number(options, "rate_limit", float, limits.rate, 0, 1e6),
    )
    port = _number(options, "port", int, 8501, 0, 65535)
    folder = locate(saved_model).resolve()
    name = options.get("model_name") or default_name(folder)
    if not re.fullmatch(r"[^/:\s]{1,200}", name) or not name.isprintable():
        raise UserError(f"--model_name={one_line(name)!r}: expected a name without '/', ':' and spaces.")
    version = int(folder.name) if folder.name.isdecimal() else 1
    return Prepared(folder, name, version, _bound(options.get("host") or LOOPBACK, port), limits)


def default_name(folder: Path) -> str:
    """Returns the name of the run directory, or of the folder with the versions."""
    parts = [p for p in folder.parts if not p.isdecimal() and p not in ("saved_model", os.sep)]
    return re.sub(r"[^\w.-]+", "-", parts[-1] if parts else "").strip("-") or "model"


def _number(options: Mapping, name: str, kind: type, default, low, high):
    text = options.get(name)
    if text is None:
        return default
    words = {int: "a whole number", float: "a number"}[kind]
    try:
        value = kind(text)
    except ValueError:
        raise UserError(f"--{name}: expected {words}, got {one_line(text)!r}.") from None
    # Written so that NaN, which compares with nothing, is refused.
    if not low <= value <= high:
        raise UserError(f"--{name}: expected {words} from {low:g} to {high:g}, got {one_line(text)}.")
    return value


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as e:
        raise UserError(f"--host={one_line(host)!r}: no such address here ({one_line(e)}).") from e
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        # Listen at once: two sockets that are only bound may share a port.
        opened.listen(1024)
    except OSError as e:
        opened.close()
        if e.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"--host={one_line(host)!r}: no address of this machine ({e.strerror}).") from e
        raise UserError(
            f"--port={port}: cannot be had on {one_line(host)} ({e.strerror}); stop what has it, or give another."
        ) from e
    return opened


def run(prepared: Prepared, console: Console, debug: bool = False) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit code, 0.

    On a signal it answers open requests and refuses new ones. The same signal again exits at once.

    Raises:
        UserError: the model cannot be loaded.
    """
    from tf_transfer.serving.http.app import Service
    from tf_transfer.serving.http.model import ServedModel

    logging.basicConfig(level=logging.INFO if debug else logging.CRITICAL, format="%(message)s", force=True)
    with contextlib.closing(prepared.socket):
        model = ServedModel(prepared.folder)
        service = Service(model, prepared.name, prepared.version, prepared.limits)
        asyncio.run(serve(service, prepared, functools.partial(_tell, console, prepared, model), debug))
    console.line(f"serve  stopped; {service.metrics.answered:,} requests were answered")
    return 0


async def serve(service, prepared: Prepared, started: Callable[[], None], debug: bool = False) -> None:
    """Serves until a signal.

    Args:
        service: an `app.Service`.
        prepared: for its socket and limits.
        started: called when requests can be answered.
        debug: keep a log of all requests.
    """
    from aiohttp import web

    stop = asyncio.Event()
    runner = web.AppRunner(
        service.app(),
        access_log=logging.getLogger("aiohttp.access") if debug else None,
        handler_cancellation=True,
        lingering_time=_LINGER,
        shutdown_timeout=prepared.limits.seconds,
    )
    await runner.setup()
    with _signals(lambda: _stop(service, stop)):
        site = web.SockSite(runner, prepared.socket, backlog=1024)
        await site.start()
        started()
        await stop.wait()
        await site.stop()
        # Wait before stopping the runner, which no longer reads bodies to their end.
        await service.drained()
        await runner.cleanup()


def _stop(service, stop: asyncio.Event) -> None:
    service.stopping = True
    stop.set()


@contextlib.contextmanager
def _signals(first: Callable[[], None]):
    """Inside, the first signal calls `first`, and the second ends the process. Ignored signals stay ignored."""
    loop, heeded = asyncio.get_running_loop(), []
    seen = []

    def heed(number: int) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        first()

    for number in signals.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            heeded.append((number, signal.getsignal(number)))
            loop.add_signal_handler(number, heed, number)
    try:
        yield
    finally:
        for number, before in heeded:
            loop.remove_signal_handler(number)
            signal.signal(number, before)


def _tell(console: Console, prepared: Prepared, model) -> None:
    host, port = prepared.socket.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    names = ", ".join(name for name in sorted(model.signatures) if not name.startswith("__"))
    console.line(
        f"serve  {url}/  model {one_line(prepared.name, 60)}, version {prepared.version}, signatures {names}; "
        f"POST {url}/v1/models/{quote(prepared.name)}:predict; Ctrl-C stops"
    )
    if not (host.startswith("127.") or host == "::1"):
        console.note(f"--host={host}: whoever reaches this address can ask the model; there is no authentication.")
