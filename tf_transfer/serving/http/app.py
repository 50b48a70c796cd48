"""The routes: TensorFlow Serving's REST interface, health, metrics, and the page."""

import asyncio
import base64
import contextlib
import hashlib
import html
import json
import logging
import mimetypes
import os
import re
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from tf_transfer.errors import one_line
from tf_transfer.modalities.words import Words
from tf_transfer.serving.http import tensors
from tf_transfer.serving.http.batching import Arrays, Batcher
from tf_transfer.serving.http.json_worker import JsonWorker
from tf_transfer.serving.http.limits import Held, Limits, Rate, RequestError
from tf_transfer.serving.http.metrics import CONTENT_TYPE, Metrics
from tf_transfer.serving.http.model import ServedModel
from tf_transfer.serving.signatures import EXAMPLES, FILES

_LOG = logging.getLogger(__name__)
# Paths as in TensorFlow Serving, `model_servers/http_rest_api_util.cc`.
_MODEL = r"(?i:/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(_MODEL + r":(?P<verb>classify|regress|predict))")
_TOLD = re.compile(_MODEL + r"(?P<metadata>/metadata)?)")
# The usual label of the version in use.
_LABEL = "stable"
# Files decoded at a time: each may take 1.5 GB, as a picture of 100 million pixels does.
_DECODERS = min(4, os.cpu_count() or 1)
# Bytes of a request, and lists, numbers and strings of a request or an answer, beyond which another process reads and
# writes them: some tens of milliseconds.
LARGE, MANY = 1 << 19, 20_000
_HEADERS = {"Server": "tf_transfer", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Service:
    """A model behind HTTP.

    Args:
        model: the model to serve.
        name: the model's name for clients.
        version: the model's version for clients.
        limits: of the requests.

    Attributes:
        stopping: set when the service takes no new requests.
        metrics: counters of requests and calls.
        held: counter of the bytes of all request bodies.
        worker: the process that reads and writes large JSON.
    """

    def __init__(self, model: ServedModel, name: str, version: int, limits: Limits):
        self._model, self._name, self._version, self._limits = model, name, version, limits
        self.stopping, self.metrics = False, Metrics()
        self._batcher = Batcher(model.call, limits, self.metrics.call)
        self._decoders = ThreadPoolExecutor(_DECODERS, "decode")
        self.worker = JsonWorker()
        self._rate, self.held, self._under_way = Rate(limits.rate), Held(limits), 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def drained(self) -> None:
        """Waits until all open predictions have been answered."""
        await self._idle.wait()

    def app(self) -> web.Application:
        """Returns the routes."""
        app = web.Application(middlewares=[_answered])
        app.router.add_route("*", r"/{v1:[vV]1}/{tail:[\s\S]*}", self._rest, expect_handler=self._expect)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/", _page(self._name, self._model.decodes, self._model.words))
        app.on_response_prepare.append(_headed)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, app: web.Application) -> None:
        self._batcher.close()
        await self.worker.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def _health(self, request: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def _ready(self, request: web.Request) -> web.Response:
        self._open()
        return _json({"status": "ready"})

    async def _metrics(self, request: web.Request) -> web.Response:
        text = self.metrics.text(requests_under_way=self._under_way, queued_rows=self._batcher.queued)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _expect(self, request: web.Request) -> web.Response | None:
        # Runs before `100 Continue` is sent for a client that asks for it; middlewares come later.
        try:
            self.held.check(request.content_length)
        except RequestError as e:
            return _refusal(request, e)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Count the status of the final answer.
        request.writer.output_size = 0
        return None

    async def _rest(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        if request.method == "POST" and (found := _CALL.fullmatch(path)):
            return await self._post(request, found)
        if request.method in ("GET", "HEAD") and (found := _TOLD.fullmatch(path)):
            self._check(found)
            return _json(self._metadata() if found["metadata"] else self._status())
        raise RequestError(400, f"Malformed request: {request.method} {one_line(path)}")

    async def _post(self, request: web.Request, found: re.Match) -> web.Response:
        begun, signature, status = time.perf_counter(), "", 500
        self._under_way += 1
        self._idle.clear()
        try:
            self._open()
            self._rate.take(request.remote or "")
            self._check(found)
            if (verb := found["verb"].lower()) != "predict":
                raise RequestError(400, f"the model has no signature for {verb}; use :predict")
            async with asyncio.timeout(self._limits.seconds), self._body(request) as body:
                signature, answer = await self._predict(body)
            status = 200
            return web.Response(body=answer, content_type="application/json")
        except RequestError as e:
            status = e.status
            raise
        except TimeoutError:
            # Without a complete body, the client was too slow.
            status = 504 if request.content.is_eof() else 408
            what = "answered" if status == 504 else "here"
            raise RequestError(status, f"not {what} within {self._limits.seconds:g} s") from None
        except asyncio.CancelledError:
            # The client has gone.
            status = 499
            raise
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
            self.metrics.request(signature, status, time.perf_counter() - begun)

    def _open(self) -> None:
        if self.stopping:
            raise RequestError(503, "the service is stopping", 5)

    def _check(self, found: re.Match) -> None:
        """Refuses a path that names another model or version."""
        name, label = (urllib.parse.unquote(found[k] or "", errors="replace") for k in ("name", "label"))
        version = int(found["version"] or self._version)
        if name != self._name or version != self._version:
            asked = (
                f"Specific({one_line(name, 60)}, {version})" if found["version"] else f"Latest({one_line(name, 60)})"
            )
            raise RequestError(404, f"Servable not found for request: {asked}")
        if label and label != _LABEL:
            raise RequestError(
                400, f"Unrecognized servable version label: {one_line(label, 60)}; the only one is {_LABEL}"
            )

    @contextlib.asynccontextmanager
    async def _body(self, request: web.Request):
        """Yields the bytes of a body, which count towards `held_bytes` inside."""
        self.held.check(request.content_length)
        parts, size = [], 0
        try:
            try:
                async for part in request.content.iter_any():
                    self.held.add(len(part), size + len(part))
                    size += len(part)
                    parts.append(part)
            except (web.HTTPException, RequestError):
                raise
            except Exception as e:  # Errors of aiohttp about a body: lengths, chunks, compression.
                raise RequestError(400, f"the body cannot be read: {one_line(e)}") from None
            body, parts = b"".join(parts), None
            yield body
        finally:
            self.held.bytes -= size

    async def _predict(self, body: bytes) -> tuple[str, bytes]:
        """Returns the name of the signature in a body, and the answer."""
        wanted = (body, self._model.signatures, self._limits.rows)
        large = len(body) > LARGE or body.count(b",") + body.count(b"[") > MANY
        name, inputs, row = await self.worker.call("read", *wanted) if large else tensors.read(*wanted)
        if name == FILES and self._model.decodes and len(inputs[self._model.contents]):
            outputs = await self._files(inputs[self._model.contents])
        else:
            outputs = await self._batcher.submit(self._model.signatures[name], inputs)
        many = sum(value.size for value in outputs.values()) > MANY
        return name, await self.worker.call("render", outputs, row) if many else tensors.render(outputs, row)

    async def _files(self, contents: np.ndarray) -> Arrays:
        """Answers files as `serve_bytes` does, but faster.

        `serve_bytes` takes tens of milliseconds to start the pipeline inside it. So good files are decoded by `decode`,
        in threads, and join other requests in `serving_default`; only bad files go to `serve_bytes`, for their status.
        """
        # Refuse now, before decoding.
        self._batcher.check(len(contents))
        loop = asyncio.get_running_loop()
        decoded = await asyncio.gather(
            *(loop.run_in_executor(self._decoders, self._model.decode, content) for content in contents)
        )
        good = np.array([example is not None for example in decoded])
        asked = []
        if good.any():
            found = [example for example in decoded if example is not None]
            examples = np.array(found, object) if isinstance(found[0], bytes) else np.stack(found)
            # Free the decoded examples: while the batch waits, only the stack is held.
            del decoded, found
            asked.append(self._batcher.submit(self._model.signatures[EXAMPLES], {self._model.example: examples}))
        if not good.all():
            bad = {self._model.contents: contents[~good]}
            asked.append(self._batcher.submit(self._model.signatures[FILES], bad))
        answers = await asyncio.gather(*asked)
        if good.any():
            answers[0] = answers[0] | {"status": np.full(good.sum(), b"ok", object)}
        # For each row of the request, its row in the answers, where good files come first.
        place = np.argsort(~good, kind="stable").argsort()
        joined = {name: np.concatenate([a[name] for a in answers]) for name in self._model.signatures[FILES].outputs}
        return {name: value[place] for name, value in joined.items()}

    def _status(self) -> dict[str, Any]:
        good = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(self._version), "state": "AVAILABLE", "status": good}]}

    def _metadata(self) -> dict[str, Any]:
        return {
            "model_spec": {"name": self._name, "signature_name": "", "version": str(self._version)},
            "metadata": {"signature_def": {"signature_def": self._model.definitions}},
        }


@web.middleware
async def _answered(request: web.Request, handler) -> web.StreamResponse:
    """Turns errors into JSON; a request that is not HTTP is answered by aiohttp itself."""
    try:
        response = await handler(request)
    except RequestError as e:
        response = _refusal(request, e)
    except web.HTTPException as e:
        response = _json({"error": f"{e.reason}: {request.method} {one_line(request.path)}"}, e.status)
        if "Allow" in e.headers:
            response.headers["Allow"] = e.headers["Allow"]
    except Exception as e:
        _LOG.exception("%s %s", request.method, one_line(request.path))
        response = _json({"error": f"an internal error: {type(e).__name__}"}, 500)
    return response


async def _headed(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers[name] = value


def _refusal(request: web.Request, refused: RequestError) -> web.Response:
    response = _json({"error": str(refused)}, refused.status)
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(round(refused.retry_after))
    if not request.content.is_eof():
        # The rest of the body will not be read.
        response.force_close()
    return response


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")


def _kinds(words: Words) -> dict[str, str]:
    """Returns the `accept` attribute of the page's file field, and the kinds of files in words."""
    endings = words.endings
    types = {(mimetypes.guess_type(f"file{ending}", strict=False)[0] or "").partition("/")[0] for ending in endings}
    # With a type such as `image/*`, a phone offers its camera too.
    (only,) = types if len(types) == 1 else ("",)
    taken, others = (", ".join(ending[1:].upper() for ending in some) for some in (endings, words.convertible))
    kinds = f"{taken}; not {others}" if others else taken
    return {"accept": f"{only}/*" if only else ",".join(endings), "kinds": kinds}


def _page(name: str, decodes: bool, words: Words):
    """Returns the handler of the page, whose security policy allows only its own script and style."""
    text = Path(__file__).with_name("page.html").read_text("utf-8")
    blocks = (re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1] for tag in ("script", "style"))
    script, style = (f"'sha256-{base64.b64encode(hashlib.sha256(b.encode()).digest()).decode()}'" for b in blocks)
    allowed = (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    told = {"model": name, "files": "yes" if decodes else "no", "one": words.one, **_kinds(words)}
    for field, value in told.items():
        text = text.replace(f"{{{{{field}}}}}", html.escape(value))
    headers = {"Content-Security-Policy": allowed, "Referrer-Policy": "no-referrer"}

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html", headers=headers)

    return page
