"""Decides by cost which functions of a network are compiled with XLA.

A compiled function is faster, and takes tens of seconds to compile: `auto` begins every function plain, times its
first calls, and compiles it where the seconds that the calls to come would save exceed those of compiling. Both are
known from the last time the same function was compiled on such a device, or else guessed from the network's size. A
compiled function that turns out slower than the plain one is given up.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tf_transfer.machine.quiet import quiet

AUTO = "auto"
# Calls that are timed before a function is compiled, and after.
_TIMED = 8
# Seconds of compiling for each layer with weights, and the share of the plain time that remains, of a network that was
# never compiled. On an H200 a step of ResNet-50 took 0.37 seconds a layer and a third, of MobileNet about 1.3.
_SECONDS_A_LAYER, _REMAINING = 0.7, 0.5


def resolve_xla(name: str) -> str:
    """Returns `on`, `off`, or `auto` where XLA compiles for the GPU of this machine.

    On CPUs XLA is slower. On a GPU whose CUDA lacks libdevice or ptxas every compilation fails, so `auto` tries one.
    """
    if name != AUTO:
        return name
    if not tf.config.list_physical_devices("GPU"):
        return "off"
    try:
        tf.function(lambda x: tf.exp(tf.matmul(x, x)), autograph=False, jit_compile=True)(tf.ones((8, 8)))
    except tf.errors.OpError:
        return "off"
    return AUTO


class Cost(NamedTuple):
    """Seconds that compiling takes, and the time of a compiled call over that of a plain one."""

    seconds: float
    ratio: float

    def pays(self, calls: float, seconds: float) -> bool:
        """Says whether compiling is worth it for a number of plain calls of `seconds` each."""
        return calls * seconds * (1.0 - self.ratio) > self.seconds


class Costs:
    """The costs that were measured on this machine, in a file of JSON; a damaged or unwritable one is no error.

    Args:
        file: path of the file; None keeps nothing.
    """

    def __init__(self, file: Path | None):
        self.file = file

    def known(self, facts: Mapping[str, Any]) -> Cost | None:
        """Returns what was measured of a function with these facts; None: it was never compiled."""
        found = self._read().get(_key(facts))
        try:
            return Cost(*map(float, found))
        except (TypeError, ValueError):
            return None

    def keep(self, facts: Mapping[str, Any], cost: Cost) -> None:
        """Writes what was measured."""
        if self.file is None:
            return
        text = json.dumps(self._read() | {_key(facts): cost})
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.file.parent, delete=False) as new:
                new.write(text)
            os.replace(new.name, self.file)

    def _read(self) -> dict:
        try:
            found = json.loads(self.file.read_text()) if self.file else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _key(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True)


@dataclass
class Trials:
    """Makes the trials of a model's functions.

    Attributes:
        model: the model, a `Classifier`; it compiles its network in what is traced while its `xla` is set.
        costs: of earlier compilations.
        facts: what the cost of a function depends on, beside its own name and batch.
        layers: number of the model's layers with weights.
        tell: called with the record of each decision.
        agree: called with this worker's decision; returns that of all. None: there is one worker.
    """

    model: Any
    costs: Costs
    facts: Mapping[str, Any]
    layers: int
    tell: Callable[[dict], None] = lambda record: None
    agree: Callable[[bool], bool] = lambda choice: choice

    def __call__(self, what: str, calls: float, size: int) -> "Trial":
        """Returns the trial of a function.

        Args:
            what: its name, such as `step`.
            calls: how often it is going to be called.
            size: examples a call.
        """
        return Trial(self, {**self.facts, "what": what, "batch": size}, calls)


@dataclass
class Trial:
    """The trial of one function, which is called over and over: plain first, then compiled where that pays.

    Attributes:
        of: makes the trials of the model.
        facts: of the function.
        calls: calls still to come.
        compiled: how the function is to be traced.
    """

    of: Trials
    facts: Mapping[str, Any]
    calls: float
    compiled: bool = False
    _next: Callable[[int, float], bool] | None = field(init=False)
    _count: int = 0
    _seconds: float = 0.0
    _plain: float = 0.0
    _compiling: float = 0.0

    def __post_init__(self):
        self._next = self._first

    def traced(self, function: Callable) -> Callable:
        """Returns the function; while it is traced, the model is compiled or not, as the trial says then."""

        def trace(*arguments):
            kept, self.of.model.xla = self.of.model.xla, self.compiled
            try:
                return function(*arguments)
            finally:
                self.of.model.xla = kept

        return trace

    def calling(self) -> contextlib.AbstractContextManager:
        """Returns the context of a call: TensorFlow complains of every compilation that it finds in its cache."""
        return quiet(shown_on=Exception) if self._next == self._first_compiled else contextlib.nullcontext()

    @property
    def waits(self) -> bool:
        """Whether the next call is to be waited for and timed by itself: it traces, or compiles."""
        return self._next in (self._first, self._first_compiled)

    def begins(self, calls: float) -> None:
        """Takes how many calls are to come from now; where compiling did not pay for fewer, it is decided anew."""
        self.calls = calls
        if self._next is None and not self._compiling:
            self._next = self._time_plain

    def took(self, calls: int, seconds: float) -> bool:
        """Takes the seconds of calls that have ended; returns whether the function is to be traced anew."""
        self.calls -= calls
        return bool(self._next and self._next(calls, seconds))

    def _first(self, calls: int, seconds: float) -> bool:
        # The first call traces: it does not count.
        self._next = self._time_plain
        return False

    def _mean(self, calls: int, seconds: float) -> float | None:
        self._count, self._seconds = self._count + calls, self._seconds + seconds
        if self._count < _TIMED:
            return None
        mean, self._count, self._seconds = self._seconds / self._count, 0, 0.0
        return mean

    def _time_plain(self, calls: int, seconds: float) -> bool:
        mean = self._mean(calls, seconds)
        if mean is None:
            return False
        self._plain = mean
        known = self.of.costs.known(self.facts)
        cost = known or Cost(_SECONDS_A_LAYER * self.of.layers, _REMAINING)
        self.compiled = self.of.agree(cost.pays(self.calls, mean))
        self._next = self._first_compiled if self.compiled else None
        self._tell(cost, known is not None)
        return self.compiled

    def _first_compiled(self, calls: int, seconds: float) -> bool:
        self._compiling, self._next = seconds, self._time_compiled
        return False

    def _time_compiled(self, calls: int, seconds: float) -> bool:
        mean = self._mean(calls, seconds)
        if mean is None:
            return False
        cost = Cost(max(0.0, self._compiling - mean), mean / self._plain)
        self.of.costs.keep(self.facts, cost)
        self._next = None
        self.compiled = self.of.agree(cost.ratio < 1.0)
        self._tell(cost, True)
        return not self.compiled

    def _tell(self, cost: Cost, measured: bool) -> None:
        self.of.tell(
            {
                "what": self.facts["what"],
                "compiled": self.compiled,
                "calls": max(0.0, self.calls),
                "plain_seconds": self._plain,
                "compiling_seconds": cost.seconds,
                "ratio": cost.ratio,
                "measured": measured,
            }
        )


def words(record: Mapping[str, Any]) -> str:
    """Returns the line of a decision, see `Trial`."""
    saved = record["calls"] * record["plain_seconds"] * (1 - record["ratio"])
    known = "" if record["measured"] else ", by a guess"
    return (
        f"XLA {'compiles' if record['compiled'] else 'does not compile'} the {record['what']}: its "
        f"{record['calls']:,.0f} calls to come, of {1000 * record['plain_seconds']:.3g} ms, would save {saved:.0f} s; "
        f"compiling takes {record['compiling_seconds']:.0f} s{known}"
    )
