"""A service in a thread of its own, on a free port, and a client that knows nothing but the standard library."""

import asyncio
import base64
import contextlib
import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    def text(self):
        return self.body.decode()

    def json(self):
        # Strictly: no NaN, no Infinity.
        return json.loads(self.body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


class Served:
    """A running service."""

    def __init__(self, service, prepared):
        self.service, self.name = service, prepared.name
        self.url = "http://{}:{}".format(*prepared.socket.getsockname())

    def request(self, method, path, body=None, **headers) -> Answer:
        asked = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as e:
            with e:
                return Answer(e.code, dict(e.headers), e.read())

    def get(self, path):
        return self.request("GET", path)

    def post(self, document, path=None):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.request("POST", path or f"/v1/models/{self.name}:predict", body)

    def predictions(self, instances, signature="serving_default"):
        answer = self.post({"signature_name": signature, "instances": instances})
        assert answer.status == 200, answer
        return answer.json()["predictions"]


def b64(content: bytes) -> dict:
    return {"b64": base64.b64encode(content).decode()}


@contextlib.contextmanager
def serving(folder: Path, limits=None, name=None, model=None):
    """Serves a SavedModel as the command does, but in a thread."""
    import dataclasses

    from aiohttp import web

    from tf_transfer.serving.http import app, server
    from tf_transfer.serving.http.model import ServedModel

    prepared = server.prepare(str(folder), {"port": "0", "model_name": name})
    prepared = dataclasses.replace(prepared, limits=limits or prepared.limits)
    service = app.Service(model or ServedModel(prepared.folder), prepared.name, prepared.version, prepared.limits)
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def run():
        runner = web.AppRunner(service.app(), handler_cancellation=True, lingering_time=1.0, shutdown_timeout=5.0)
        await runner.setup()
        await web.SockSite(runner, prepared.socket).start()
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert ready.wait(30)
        yield Served(service, prepared)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
        prepared.socket.close()
