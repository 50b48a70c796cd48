"""What the benchmarks of the service share: a model of their own, the service as a process, clients as another.

python -m benchmarks.service_process PLAN.json          # the clients: prints what they saw as JSON
"""

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import runner

MODEL = ("--backbone=mobilenet(alpha=0.25)", "--image_size=96")
# The command, with a wait for company before each call of the model, which it has no flag for.
_WAITING = """
import functools, sys
from tf_transfer import cli
from tf_transfer.serving.http import app
app.Batcher = functools.partial(app.Batcher, wait={wait})
sys.argv = ["run.py", *sys.argv[1:]]
cli.run()
"""


@contextlib.contextmanager
def exported(shared: Path) -> Iterator[Path]:
    """Makes a run on the flowers, and gives its directory."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--phase=head,export", f"--dataset={shared / 'flowers'}", *MODEL, f"--run_dir={folder}/flowers")
        subprocess.run([sys.executable, "run.py", *flags], cwd=runner.ROOT, check=True, stdout=sys.stderr)
        yield Path(folder, "flowers")


def flowers(shared: Path, count: int) -> list[bytes]:
    """Returns picture files, evenly from all classes."""
    files = sorted((shared / "flowers").rglob("*.jpg"))
    return [f.read_bytes() for f in files[:: max(1, len(files) // count)][:count]]


class Process:
    """A service that runs as its own process.

    Attributes:
        url: of predict requests.
    """

    def __init__(self, process: subprocess.Popen, url: str):
        self._process, self.url = process, url

    def memory(self, what: str = "VmRSS") -> float:
        """Returns the megabytes that the process holds, or with `VmHWM` has held at most."""
        return memory(self._process.pid, what)


def memory(pid: int, what: str = "VmRSS") -> float:
    """Returns the megabytes that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith(what)]
    return int(found) / 1024


@contextlib.contextmanager
def started(run: Path, *flags: str, wait: float = 0.0) -> Iterator[Process]:
    """Starts the service on a free port; at the end it is stopped, and must say so."""
    program = ["-c", _WAITING.format(wait=wait)] if wait else ["run.py"]
    command = [sys.executable, *program, "--phase=serve", f"--run_dir={run}", "--port=0", *flags]
    with subprocess.Popen(command, cwd=runner.ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith("serve  "):
                raise RuntimeError(f"the service did not start: {line}")
            yield Process(process, f"{line.split()[1]}v1/models/{run.name}:predict")
        finally:
            process.terminate()
            ended = process.wait()
    if ended:
        raise RuntimeError(f"the service ended with {ended}")


def ask(url: str, rows: Sequence[Sequence[bytes]], clients: int, seconds: float | None = None) -> dict:
    """Sends requests of picture files from clients in a process of their own.

    Args:
        url: of `Process`.
        rows: the files of each request; with `seconds`, over and over.
        clients: how many ask at a time.
        seconds: how long; None: each request once.

    Returns:
        `latencies` in seconds, `errors`, `elapsed`, and `answers`: of each its request's place and its predictions.
    """
    plan = {"url": url, "clients": clients, "seconds": seconds}
    plan["rows"] = [[base64.b64encode(content).decode() for content in files] for files in rows]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plan.json")
        file.write_text(json.dumps(plan))
        command = [sys.executable, "-m", "benchmarks.service_process", str(file)]
        done = subprocess.run(command, cwd=runner.ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


async def _clients(plan: dict) -> dict:
    import aiohttp

    bodies = [
        json.dumps({"signature_name": "serve_bytes", "instances": [{"b64": content} for content in files]}).encode()
        for files in plan["rows"]
    ]
    found = {"latencies": [], "errors": [], "answers": []}
    begun = time.perf_counter()
    numbers = iter(range(10**9 if plan["seconds"] else len(bodies)))

    async def client(session):
        for number in numbers:
            if plan["seconds"] and time.perf_counter() - begun > plan["seconds"]:
                return
            asked = time.perf_counter()
            try:
                async with session.post(plan["url"], data=bodies[number % len(bodies)]) as response:
                    text = await response.read()
                    if response.status != 200:
                        raise RuntimeError(f"{response.status} {text[:200]!r}")
            except Exception as e:
                found["errors"].append(f"{type(e).__name__}: {e}")
                continue
            found["latencies"].append(time.perf_counter() - asked)
            found["answers"].append((number % len(bodies), text))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(plan["clients"])))
    found["elapsed"] = time.perf_counter() - begun
    # Parsed when the time is over: what is measured is the service.
    found["answers"] = [(at, json.loads(text)["predictions"]) for at, text in found["answers"]]
    return found


class Bare:
    """The SavedModel by itself, in this process."""

    def __init__(self, run: Path):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        self._tf, self._loaded = tf, tf.saved_model.load(str(run / "saved_model" / "1"))
        self._files, self._pictures = (self._loaded.signatures[n] for n in ("serve_bytes", "serving_default"))

    def files(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Returns what `serve_bytes` answers."""
        return {k: v.numpy() for k, v in self._files(contents=self._tf.constant(list(contents))).items()}

    def pictures(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what `serving_default` answers."""
        return {k: v.numpy() for k, v in self._pictures(images=self._tf.constant(images)).items()}

    def decode(self, content: bytes) -> np.ndarray | None:
        """Returns the pixels of a file, or None where it is bad."""
        try:
            return self._loaded.decode(self._tf.constant(content)).numpy()
        # Messages that quote the bytes of a file may not be text.
        except (self._tf.errors.InvalidArgumentError, UnicodeDecodeError):
            return None


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_clients(json.loads(Path(sys.argv[1]).read_text())))))
