"""Which calls are timed, and by which clock."""

import re
from pathlib import Path

import tf_transfer
from tf_transfer.machine.timing import timed


def test_warm_calls_do_not_count():
    now, calls = [0.0], []

    def call():
        # The first call compiles.
        now[0] += 10.0 if not calls else float(len(calls))
        calls.append(now[0])

    assert timed(call, warm=1, n=3, now=lambda: now[0]) == [1.0, 2.0, 3.0] and len(calls) == 4


def test_by_default_one_call_is_timed_by_the_clock_of_the_machine():
    (seconds,) = timed(lambda: sum(range(200_000)))
    assert 0 < seconds < 60


def test_nothing_is_timed_without_calls():
    calls = []
    assert timed(lambda: calls.append(1), warm=2, n=0) == [] and calls == [1, 1]


def test_a_call_is_timed_in_one_place():
    """`begun = clock(); call(); clock() - begun` around a call whose result is thrown away is what `timed` is for."""
    watch = re.compile(r"= time\.(perf_counter|monotonic)\(\)\n +[\w.]+\(.*\)\n[^\n]*time\.\1\(\) - ")
    root = Path(tf_transfer.__file__).parents[1]
    found = {p.name for part in ("tf_transfer", "benchmarks") for p in (root / part).rglob("*.py")
             if watch.search(p.read_text("utf-8"))}  # fmt: skip
    # The gate's runners import nothing of this package.
    assert found == {"runners.py"}
