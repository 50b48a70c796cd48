import io
import subprocess
import sys

import pytest
import tools

from tf_transfer import console
from tf_transfer.console import Console, clock


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


class Ascii(io.StringIO):
    encoding = "ascii"


@pytest.fixture
def time(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_lines_are_written():
    stream = io.StringIO()
    said = Console(stream)
    said.line("one")
    said.line()
    assert stream.getvalue() == "one\n\n"


def test_what_the_stream_cannot_write_becomes_a_question_mark():
    stream = Ascii()
    Console(stream).line("naïve \N{HORIZONTAL ELLIPSIS} \udce9")
    assert stream.getvalue() == "na?ve ? ?\n"


RECORD = {"epoch": 3, "epochs": 12, "train_accuracy": 0.5, "train_loss": 1.25, "learning_rate": 0.0123,
          "examples_per_second": 1234.5, "seconds": 2.0}  # fmt: skip


def test_epochs_are_told_in_one_line():
    stream = io.StringIO()
    said = Console(stream)
    said.epoch("full", RECORD)
    said.epoch("full", RECORD | {"validation_accuracy": 0.75, "validation_loss": 0.5})
    assert stream.getvalue().splitlines() == [
        "full  epoch  3/12  train 0.5000 (loss 1.2500)  rate 0.012  1,234 examples/s  2.0 s",
        "full  epoch  3/12  train 0.5000 (loss 1.2500)  validation 0.7500 (loss 0.5000)  rate 0.012  "
        "1,234 examples/s  2.0 s",
    ]


def test_no_bar_where_nobody_watches():
    stream = io.StringIO()
    show = Console(stream).bar("head")
    show(1, 2)
    show(2, 2)
    assert stream.getvalue() == ""


def test_bar_tells_progress_rate_and_time_left(time):
    stream = Terminal()
    show = Console(stream).bar("head")
    time[0] += 50
    show(40, 120, "loss 0.7")
    assert stream.getvalue() == f"\rhead [{'#' * 8}{'.' * 16}] 40/120  ...  loss 0.7"
    time[0] += 10
    show(60, 120, "loss 0.5")
    # From the first call on: 20 in 10 seconds, and 60 are left.
    assert stream.getvalue().endswith(f"\rhead [{'#' * 12}{'.' * 12}] 60/120  2.0/s  0:30 left  loss 0.5")


def test_bar_is_drawn_ten_times_a_second_at_most_and_at_the_end(time):
    stream = Terminal()
    show = Console(stream).bar("head")
    for step in range(1, 101):
        time[0] += 0.01
        show(step, 100)
    assert 9 <= stream.getvalue().count("head [") <= 11
    assert "100/100" in stream.getvalue()


def test_nothing_of_a_finished_bar_stays(time):
    stream = Terminal()
    show = Console(stream).bar("head")
    time[0] += 1
    show(1, 2, "a long text that must be wiped out")
    time[0] += 1
    show(2, 2, "short")
    assert screen(stream.getvalue()) == [""]


def test_lines_go_over_a_bar(time):
    stream = Terminal()
    said = Console(stream)
    show = said.bar("head")
    time[0] += 1
    show(1, 2)
    said.line("note")
    time[0] += 1
    show(1, 2)
    lines = screen(stream.getvalue())
    assert lines[0] == "note" and lines[1].startswith("head [")


def test_text_of_a_bar_stays_on_its_line(time):
    stream = Terminal()
    show = Console(stream).bar("head")
    time[0] += 1
    show(1, 2, "a\nb" + "x" * 100)
    assert "\n" not in stream.getvalue() and "x" * 50 not in stream.getvalue()


def screen(written):
    """What a terminal shows: a carriage return goes back to the start of the line and overwrites."""
    lines = []
    for line in written.split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (125, "2:05"), (3599.7, "1:00:00"), (3723, "1:02:03")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_a_closed_standard_output_takes_the_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    Console().line("told to nobody")


def test_work_goes_on_when_the_reader_has_left():
    """As of `run.py | head -1`: no error, no line of its own, exit code 0."""
    code = (
        "import time\n"
        "from tf_transfer.console import Console\n"
        "console = Console()\n"
        "for i in range(50):\n    console.line(str(i) * 1000)\n    time.sleep(0.002)\n"
        "import sys; sys.stderr.write('ended')\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tools.ROOT, **pipes) as running:
        assert running.stdout.readline().startswith("0")
        running.stdout.close()
        assert running.stderr.read() == "ended"
    assert running.returncode == 0
