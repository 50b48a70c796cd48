"""Files and folders that are whole or not there, also where a crash comes between any two calls to the system."""

import contextlib
import os
import shutil

import pytest

from tf_transfer.run import atomic, lock

# What touches the disk while a folder takes its place, or goes.
CALLS = [(os, "replace"), (os, "fsync"), (shutil, "rmtree"), (os, "chmod")]


class CrashError(BaseException):
    """The process ends here: nothing after it runs, no `finally` either."""


@pytest.fixture
def crash_at(monkeypatch):
    """Lets the process end before call number n of those that touch the disk; says whether it came to that."""

    def arm(n):
        left, ended = [n], []

        def counting(function):
            def call(*args, **kwargs):
                left[0] -= 1
                if left[0] <= 0:
                    ended.append(True)
                    raise CrashError
                return function(*args, **kwargs)

            return call

        for module, name in CALLS:
            monkeypatch.setattr(module, name, counting(getattr(module, name)))
        return ended

    yield arm
    monkeypatch.undo()


def content(folder):
    return {p.name: p.read_text() for p in sorted(folder.iterdir())} if folder.is_dir() else None


def replace(target):
    with atomic.new_folder(target) as new:
        (new / "a").write_text("new")
        (new / "b").write_text("new")


@pytest.mark.parametrize("n", range(1, 11))
def test_a_folder_is_the_old_one_or_the_new_one(tmp_path, crash_at, monkeypatch, n):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("old")
    ended = crash_at(n)
    with contextlib.suppress(CrashError):
        replace(target)
    monkeypatch.undo()
    atomic.sweep(tmp_path)
    assert content(target) in ({"a": "old"}, {"a": "new", "b": "new"})
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    if not ended:
        assert content(target) == {"a": "new", "b": "new"} and n > 8


@pytest.mark.parametrize("n", range(1, 4))
def test_what_is_removed_is_whole_or_gone(tmp_path, crash_at, monkeypatch, n):
    target = tmp_path / "model"
    replace(target)
    crash_at(n)
    with contextlib.suppress(CrashError):
        assert atomic.remove(target)
    monkeypatch.undo()
    atomic.sweep(tmp_path)
    assert content(target) in (None, {"a": "new", "b": "new"})
    assert {p.name for p in tmp_path.iterdir()} <= {"model"}


def test_removing_what_is_not_there(tmp_path):
    assert not atomic.remove(tmp_path / "model")
    (tmp_path / ".gone-model").mkdir()
    replace(tmp_path / "model")
    assert atomic.remove(tmp_path / "model") and not list(tmp_path.iterdir())


def test_an_error_leaves_the_old_folder(tmp_path):
    replace(tmp_path / "model")
    with pytest.raises(ValueError, match="no"), atomic.new_folder(tmp_path / "model"):
        raise ValueError("no")
    assert content(tmp_path / "model") == {"a": "new", "b": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    target = tmp_path / "x.json"
    atomic.write_file(target, b"1")
    assert target.read_bytes() == b"1"
    with pytest.raises(OSError, match="Is a directory"):
        atomic.write_file(tmp_path, b"2")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)]
)
def test_the_umask_says_who_may_read_and_go_on(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        atomic.write_file(tmp_path / "x.json", b"1")
        replace(tmp_path / "model")
        with lock.locked(tmp_path / "run"):
            modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("x.json", "run/.lock", "model", "run")]
    finally:
        os.umask(before)
    assert modes == [file, file, folder, folder]


def test_room_is_asked_for_before_it_is_needed(tmp_path):
    atomic.reserve(tmp_path, 1 << 20)
    with pytest.raises(OSError, match=r"File too large|No space left on device"):
        atomic.reserve(tmp_path, 1 << 62)
    assert not list(tmp_path.iterdir())
