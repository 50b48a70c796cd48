"""Gives random and mutated files, with good ones among them, to `serve_bytes` and to the service.

python -m benchmarks.service_hostile [--quick] [--json=FILE]
"""

import argparse
import io
import operator
import os
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from benchmarks import runner
from benchmarks.service_process import Bare, ask, exported, flowers, memory, started

# Rows of a request, and how many of them are good.
_ROWS, _GOOD = 16, 2
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
# How far probabilities of the same picture may be from each other, in batches of other sizes.
_CLOSE = 1e-5


def mutations(originals: Sequence[bytes], count: int, seed: int = 0) -> list[bytes]:
    """Returns strings of bytes, most of them nearly pictures.

    Args:
        originals: picture files.
        count: how many.
        seed: of the draws.
    """
    draws = np.random.default_rng(seed)
    kinds = (_random, _flipped, _cut, _sized, _joined, _spliced, _magic)
    return [kinds[i % len(kinds)](draws, originals) for i in range(count)]


def _one(draws, originals) -> bytearray:
    return bytearray(originals[draws.integers(len(originals))])


def _random(draws, originals) -> bytes:
    return draws.bytes(int(draws.integers(0, 2000)))


def _flipped(draws, originals) -> bytes:
    content = _one(draws, originals)
    for at in draws.integers(0, 8 * len(content), draws.integers(1, 30)):
        content[at // 8] ^= 1 << (at % 8)
    return bytes(content)


def _cut(draws, originals) -> bytes:
    content = _one(draws, originals)
    return bytes(content[: draws.integers(0, len(content))])


def _sized(draws, originals) -> bytes:
    """The first bytes, where sizes stand, drawn anew."""
    content = _one(draws, originals)
    at = int(draws.integers(2, 40))
    content[at : at + 4] = draws.bytes(4)
    return bytes(content)


def _joined(draws, originals) -> bytes:
    return bytes(_one(draws, originals) + _one(draws, originals))


def _spliced(draws, originals) -> bytes:
    first, second = _one(draws, originals), _one(draws, originals)
    return bytes(first[: draws.integers(1, len(first))] + second[draws.integers(0, len(second)) :])


def _magic(draws, originals) -> bytes:
    return bytes(_one(draws, originals)[:32]) + draws.bytes(int(draws.integers(0, 500)))


def originals(files: Sequence[bytes]) -> list[bytes]:
    """Returns pictures in all formats that are read."""
    made = []
    for content in files:
        for name in _FORMATS:
            written = io.BytesIO()
            Image.open(io.BytesIO(content)).convert("P" if name == "GIF" else "RGB").save(written, name)
            made.append(written.getvalue())
    return made


def mixed(bad: Sequence[bytes], good: Sequence[bytes], seed: int = 0) -> tuple[list[list[bytes]], list[list[int]]]:
    """Returns requests of bad rows with good ones among them, and where which good one stands, -1 elsewhere."""
    draws = np.random.default_rng(seed)
    requests, places = [], []
    for start in range(0, len(bad), _ROWS - _GOOD):
        rows = [(content, -1) for content in bad[start : start + _ROWS - _GOOD]]
        rows += [(good[i], int(i)) for i in draws.integers(len(good), size=_GOOD)]
        order = draws.permutation(len(rows))
        requests.append([rows[i][0] for i in order])
        places.append([rows[i][1] for i in order])
    return requests, places


def truth(decode: Callable, pictures: Callable, requests: Sequence[Sequence[bytes]]) -> list[np.ndarray | None]:
    """Returns the probabilities of every row by itself, None where it cannot be decoded."""
    found = []
    for content in (content for rows in requests for content in rows):
        picture = decode(content)
        found.append(None if picture is None else pictures(picture[None])["probabilities"][0])
    return found


def wrong(answers: Sequence[Mapping], expected: Sequence[np.ndarray | None]) -> int:
    """Returns how many rows were answered otherwise than each by itself."""
    count = 0
    for answer, own in zip(answers, expected, strict=True):
        values, status = np.asarray(answer["probabilities"]), answer["status"]
        if own is None:
            fine = status not in ("", "ok") and answer["label"] == "" and not values.any()
        else:
            fine = status == "ok" and np.abs(values - own).max() <= _CLOSE
            fine = fine and answer["label"] == answer["class_names"][int(values.argmax())]
        count += not fine
    return count


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: rows, answers that were wrong, and memory."""
    count = 700 if args.quick else 10_000
    with exported(args.shared) as run:
        bare, good = Bare(run), flowers(args.shared, 40)
        requests, places = mixed(mutations(originals(good[:8]), count), good)
        expected = truth(bare.decode, bare.pictures, requests)
        found = {
            "count": count,
            "rows": len(expected),
            "good": sum(place >= 0 for row in places for place in row),
            "decodable": sum(e is not None for e in expected),
            "signature": _signature(bare, requests, expected),
        }
        with started(run) as service:
            found["service"] = _service(service, requests, expected)
    return {"hostile": found}


def _signature(bare: Bare, requests, expected) -> dict:
    held, answers = [], []
    for number, rows in enumerate(requests):
        out = bare.files(rows)
        answers += [{k: v[i] for k, v in out.items()} for i in range(len(rows))]
        if number in (len(requests) // 10, len(requests) // 2, len(requests) - 1):
            held.append(memory(os.getpid()))
    for answer in answers:
        answer["class_names"] = [name.decode() for name in answer["class_names"]]
        answer |= {name: answer[name].decode() for name in ("label", "status")}
    return {"wrong": int(wrong(answers, expected)), "errors": 0, "memory": held}


def _service(service, requests, expected) -> dict:
    held, errors, answers = [], [], []
    # A tenth to begin with: what it needs for work of this kind, it has then.
    for part in np.split(np.arange(len(requests)), [len(requests) // 10, len(requests) // 2]):
        seen = ask(service.url, [requests[i] for i in part], 8)
        errors += seen["errors"]
        answers += [row for _, rows in sorted(seen["answers"], key=operator.itemgetter(0)) for row in rows]
        held.append(service.memory())
    if errors:
        print(*errors[:5], sep="\n", file=sys.stderr)
    missing = len(expected) - len(answers)
    bad = missing or wrong(answers, expected)
    return {"wrong": int(bad), "errors": len(errors), "memory": held, "peak": service.memory("VmHWM")}


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    found = record["hostile"]
    rows = []
    for name, key in (("`serve_bytes` itself, 16 rows a call", "signature"), ("the service, 8 clients", "service")):
        case = found[key]
        held = " / ".join(f"{m:,.0f}" for m in case["memory"])
        rows.append((name, f"{case['errors']}", f"{case['wrong']}", held))
    return [
        "## Hostile files",
        "",
        f"{found['count']:,} strings of bytes, drawn at random or made from JPEG, PNG, GIF, BMP and WebP files by "
        "flipping bits, cutting short, drawing sizes in headers anew, joining and splicing; "
        f"{found['good']:,} good pictures stand among them, in requests of {_ROWS} rows. {found['decodable']:,} of the "
        f"{found['rows']:,} rows can be decoded. Every answer is held against the row decoded and asked by itself: "
        f"probabilities within {_CLOSE:g} where it can be decoded, a status and an empty answer where not.",
        "",
        *runner.table(("", "requests that failed", "rows answered wrongly", "MB held after 10, 50 and 100 %"), rows),
        "",
        f"At most, the service held {found['service']['peak']:,.0f} MB.",
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
