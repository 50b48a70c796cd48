"""Signals: raised where nothing is at work, noted where a step is, and at once the second time."""

import os
import signal
import subprocess
import sys

import pytest
import tools

from tf_transfer.machine import signals


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_raised(number, code):
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(signals.Stopped) as stopped, signals.handled():
        send(number)
    assert (stopped.value.code, stopped.value.saved) == (code, False)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_deferred_one_is_noted_and_raised_at_the_end(capsys):
    with pytest.raises(signals.Stopped, match="SIGTERM"), signals.handled():
        with signals.deferred():
            assert signals.requested() is None
            send()
            assert signals.requested() == signal.SIGTERM
        pytest.fail("it goes on")
    assert signals.requested() is None
    assert "the same signal again leaves at once" in capsys.readouterr().err


def test_one_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.handled():
            send(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_second_leaves_at_once():
    program = (
        "import os, signal, time\nfrom tf_transfer.machine import signals\n"
        "with signals.handled(), signals.deferred():\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tools.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 143 and not done.stdout
