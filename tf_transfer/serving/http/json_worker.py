"""A process beside the service that parses and writes large JSON, which would block the event loop meanwhile.

A faster parser does not replace it, as the checks after parsing are most of the work: for 1 MB of numbers orjson and
the checks block the event loop for 95 ms, for 20 MB 1.4 s; with this process it is 7 and 37 ms
(benchmarks/json_worker.py).

The service starts it, `python -m tf_transfer.serving.http.json_worker`, at the first large request; it ends with the
service.
"""

import asyncio
import contextlib
import os
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from tf_transfer.serving.http import tensors
from tf_transfer.serving.http.limits import RequestError

_LENGTH = struct.Struct("<Q")
_FUNCTIONS: dict[str, Callable] = {"read": tensors.read, "render": tensors.render}


class JsonWorker:
    """Calls functions of `tensors` in another process, one at a time. Runs in an event loop."""

    def __init__(self):
        self._process: asyncio.subprocess.Process | None = None
        self._free = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Number of the process; None before the first call, and after one that failed."""
        return self._process.pid if self._process else None

    async def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function of `tensors` and returns its result.

        Raises:
            RequestError: the function raises it, or the process has ended.
        """
        async with self._free:
            try:
                done = await self._exchange(pickle.dumps((name, arguments), pickle.HIGHEST_PROTOCOL))
            except (OSError, asyncio.IncompleteReadError):
                self._end()
                raise RequestError(503, "there is no memory for a request as large as this one; try again", 5) from None
            except BaseException:
                # The request was given up: end the process, as its result is not needed.
                self._end()
                raise
        if isinstance(done, RequestError):
            raise done
        return done

    async def _exchange(self, content: bytes) -> Any:
        if self._process is None or self._process.returncode is not None:
            pipe = asyncio.subprocess.PIPE
            command = (sys.executable, "-m", __name__)
            # With the same search path, and in a session of its own: Ctrl-C is meant for the service.
            paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, env=os.environ | paths, start_new_session=True
            )
        self._process.stdin.write(_LENGTH.pack(len(content)))
        self._process.stdin.write(content)
        await self._process.stdin.drain()
        (length,) = _LENGTH.unpack(await self._process.stdout.readexactly(_LENGTH.size))
        return pickle.loads(await self._process.stdout.readexactly(length))

    async def close(self) -> None:
        """Ends the process, if there is one, and waits for its end."""
        if ended := self._end():
            await ended.wait()

    def _end(self) -> asyncio.subprocess.Process | None:
        ended, self._process = self._process, None
        if ended:
            ended.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                ended.kill()
        return ended


def work(source: BinaryIO, sink: BinaryIO) -> None:
    """Answers calls until the stream ends."""
    while head := source.read(_LENGTH.size):
        (length,) = _LENGTH.unpack(head)
        content = source.read(length)
        if len(content) < length:
            return
        name, arguments = pickle.loads(content)
        try:
            done = _FUNCTIONS[name](*arguments)
        except RequestError as e:
            done = e
        content = pickle.dumps(done, pickle.HIGHEST_PROTOCOL)
        sink.write(_LENGTH.pack(len(content)) + content)
        sink.flush()
        # Free the memory while waiting for the next call.
        del done, content, arguments


if __name__ == "__main__":
    work(sys.stdin.buffer, sys.stdout.buffer)
