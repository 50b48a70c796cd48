"""One writer: a second is refused and told by whom, a stale lock is taken over, nothing stays."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest
import tools

from tf_transfer.errors import UserError
from tf_transfer.run import lock

HERE = {"host": socket.gethostname(), "pid": os.getpid(), "since": "then"}
HOLD = (
    "import sys; from tf_transfer.run import lock\n"
    "with lock.locked(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=tools.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_and_told_by_whom(tmp_path, holder):
    message = rf"--run_dir='.*run' is in use by process {holder.pid} on {socket.gethostname()}, since \d{{4}}-"
    with pytest.raises(UserError, match=message), lock.locked(tmp_path / "run"):
        pass
    done = tools.run_py("--phase=report", f"--run_dir={tmp_path / 'run'}", cwd=tmp_path)
    tools.assert_refused(done, message)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run/.lock").exists()
    with lock.locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run/.lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run").exists()


def test_what_is_in_the_folder_stays(tmp_path):
    (tmp_path / "x").write_text("1")
    with lock.locked(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_one_process_cannot_hold_it_twice(tmp_path):
    with lock.locked(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()}"), lock.locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("holder", "refused"),
    [
        # On another host; this very process; one that has ended and left its number; one that is no more; no holder.
        ({"host": "elsewhere", "pid": 1, "since": "then"}, True),
        (HERE | {"begun": lock.begun(os.getpid())}, True),
        (HERE | {"begun": "1"}, False),
        (HERE | {"pid": 2**22 + 1}, False),
        ("junk", False),
    ],
)
def test_where_there_are_no_locks_the_file_decides(tmp_path, monkeypatch, holder, refused):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    (tmp_path / ".lock").write_text(json.dumps(holder) if isinstance(holder, dict) else holder)
    if refused:
        with pytest.raises(UserError, match=f"process {holder['pid']} on {holder['host']}"), lock.locked(tmp_path):
            pass
    else:
        with lock.locked(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_file_that_its_holder_took_away_is_made_anew(tmp_path, monkeypatch):
    """Taken away between the opening and the lock: on a file without a name, who comes next would see no lock."""
    path, take, gone = tmp_path / "data", lock.take, []

    def late(file, unlockable):
        if not gone:
            gone.append(os.fstat(file))
            path.unlink()
        return take(file, unlockable)

    monkeypatch.setattr(lock, "take", late)
    held = lock.opened(path)
    assert gone and os.path.samestat(os.stat(path), os.fstat(held))
    assert lock.opened(path) is None
    os.close(held)
    os.close(lock.opened(path))


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot be written: "), lock.locked(tmp_path / "taken/below"):
        pass


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("caf\udce9", r"expected a name in UTF-8; rename it, or set PYTHONUTF8=1"),
        ("x" * 300, "cannot be written: File name too long"),
        ("x/" * 3000, "cannot be written: File name too long"),
        ("file", "is a file; expected a folder"),
        ("file/run", "cannot be written: Not a directory"),
        ("/proc/none", "cannot be written: No such file or directory"),
        ("~no_such_user_at_all/run", ""),
    ],
)
def test_a_folder_that_cannot_be_one_is_told_in_a_line(tmp_path, name, message):
    (tmp_path / "file").touch()
    if not message:
        # Without such a user the name is a folder like any other.
        with lock.locked(name):
            assert os.path.isdir(name)
        return
    with pytest.raises(UserError, match=message) as error, lock.locked(name):
        pass
    assert str(error.value).startswith("--run_dir=") and len(str(error.value).splitlines()) == 1
