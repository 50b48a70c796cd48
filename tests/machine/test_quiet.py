"""What is written to standard error, by Python or past it, is dropped inside and nowhere else."""

import logging
import os
import subprocess
import sys
import time
import warnings

import pytest

from tf_transfer.machine import quiet as quieting
from tf_transfer.machine.quiet import quiet, without_packages, without_warnings

PROGRAM = """
import os, subprocess, sys
from tf_transfer.machine.quiet import quiet

print("before", file=sys.stderr)
try:
    with quiet({shown_on}):
        print("from Python", file=sys.stderr)
        os.write(2, b"from below\\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from a child')"], check=True)
        {fails}
except ImportError as e:
    print("failed", file=sys.stderr)
print("after", file=sys.stderr)
"""
FAILS = "raise ImportError"


@pytest.mark.parametrize(
    ("shown_on", "fails", "expected"),
    [
        ("", "pass", "before\nafter\n"),
        ("", FAILS, "before\nfailed\nafter\n"),
        ("ImportError", "pass", "before\nafter\n"),
        ("(OSError, ImportError)", FAILS, "before\nfrom Python\nfrom below\nfrom a childfailed\nafter\n"),
    ],
)
def test_standard_error_is_dropped_inside(shown_on, fails, expected):
    program = PROGRAM.format(shown_on=shown_on, fails=fails)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, expected)


def test_no_file_stays_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with quiet():
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_warnings_and_the_named_log_are_dropped_inside(caplog):
    log, other = logging.getLogger("a library"), logging.getLogger("another")
    log.setLevel(logging.INFO)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with without_warnings("a library"):
            warnings.warn("inside", stacklevel=1)
            log.warning("inside")
            log.error("an error")
            other.warning("of another")
        warnings.warn("outside", stacklevel=1)
        log.warning("outside")
    assert [str(w.message) for w in found] == ["outside"]
    assert [r.getMessage() for r in caplog.records] == ["an error", "of another", "outside"]
    assert log.level == logging.INFO


def test_packages_are_hidden_inside_unless_they_were_imported_before(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hidden_inside.py").write_text("")
    with without_packages("hidden_inside", "logging"):
        with pytest.raises(ImportError):
            import hidden_inside
        import logging as still_there
    import hidden_inside

    assert still_there is logging and sys.modules.pop("hidden_inside") is hidden_inside


def test_lines_that_match_are_dropped_and_others_pass_at_once(capfd):
    with quieting.without_lines("Corrupt JPEG|^noise"):
        os.write(2, b"Corrupt JPEG data: 228 extraneous bytes before marker 0xd9\nnoise\nkept: no")
        os.write(2, b"ise\n")
        os.write(2, b"of another\n")
        said = ""
        for _ in range(100):
            said += capfd.readouterr().err
            if "of another" in said:
                break
            time.sleep(0.02)
    assert said == "kept: noise\nof another\n"
    os.write(2, b"noise\n")
    assert capfd.readouterr().err == "noise\n"


def test_lines_pass_where_an_error_ends_it(capfd):
    with pytest.raises(ValueError, match="no"), quieting.without_lines("noise"):
        os.write(2, b"noise\nlast words")
        raise ValueError("no")
    assert capfd.readouterr().err == "last words"


@pytest.mark.parametrize("ends", ["os.abort()", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)"])
def test_the_last_words_of_a_process_that_aborts_pass(ends):
    program = (
        "import os, signal\nfrom tf_transfer.machine.quiet import without_lines\nwith without_lines('noise'):\n"
        f"    os.write(2, b'noise\\nCheck failed: last words\\n')\n    {ends}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode and done.stderr == "Check failed: last words\n"


def test_lines_are_forwarded_without_a_file_or_a_process_left():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        with quieting.without_lines("noise"):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
