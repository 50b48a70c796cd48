"""Limits of the service on size, rate and duration of requests, and the errors beyond them."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

# Number of addresses whose rate is remembered; the least recently seen is forgotten first.
_ADDRESSES = 10_000


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP: 400 wrong content, 404 unknown path, 408 body too slow, 413 too large, 429 too often, 503 too
            much at a time, 504 timeout.
        retry_after: seconds until a retry makes sense.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None):
        # Pass all arguments, so that the error can be pickled between processes.
        super().__init__(status, message, retry_after)
        self.status, self.message, self.retry_after = status, message, retry_after

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Limits:
    """The limits of a service.

    Attributes:
        max_batch: rows in one call of the model.
        batch_bytes: bytes of examples in one call of the model, unless one row alone has more.
        request_bytes: bytes of one request's body, when it has been decompressed.
        held_bytes: bytes of the bodies of all open requests.
        rows: rows of one request.
        queued: rows waiting for the model.
        rate: requests a second of one client address, on average; 0 for any number.
        seconds: for one request, from its first byte to its answer.
    """

    max_batch: int = 32
    batch_bytes: int = 64 << 20
    request_bytes: int = 32 << 20
    held_bytes: int = 256 << 20
    rows: int = 1024
    queued: int = 4096
    rate: float = 0.0
    seconds: float = 30.0


class Rate:
    """A token bucket for each client: `rate` requests a second, with bursts of one second's requests.

    Args:
        rate: requests a second.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic):
        self._rate, self._most, self._clock = rate, max(rate, 1.0), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Counts a request of a client.

        Raises:
            RequestError: the client sends too many requests.
        """
        if not self._rate:
            return
        now, client = self._clock(), whom(address)
        tokens, seen = self._buckets.pop(client, (self._most, now))
        tokens = min(self._most, tokens + (now - seen) * self._rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = (1 - tokens) / self._rate
            raise RequestError(429, f"more than {self._rate:g} requests a second from this address", math.ceil(wait))


def whom(address: str) -> str:
    """Returns the key of a client: its IPv4 address, or its IPv6 network, which usually belongs to one client."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    # A socket for both protocols sees IPv4 clients as IPv4-mapped addresses.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


class Held:
    """Counts the bytes of all bodies in memory.

    Args:
        limits: `request_bytes` and `held_bytes` count.
    """

    def __init__(self, limits: Limits):
        self._limits, self.bytes = limits, 0

    def check(self, length: int | None) -> None:
        """Checks the declared length of a request, before its body is read.

        Raises:
            RequestError: it is too large.
        """
        if length is not None and length > self._limits.request_bytes:
            raise RequestError(413, f"a request of more than {self._limits.request_bytes >> 20} MB (--max_request_mb)")

    def add(self, count: int, whole: int) -> None:
        """Counts bytes that have been read; `whole` is the sum for their request.

        Raises:
            RequestError: the request, or all requests together, have too many.
        """
        self.check(whole)
        if self.bytes + count > self._limits.held_bytes:
            raise RequestError(503, "too many large requests at a time; try again", 1)
        self.bytes += count
