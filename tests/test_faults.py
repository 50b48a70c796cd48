"""What a user sees when the disk fills up or the numbers go wrong: one line, and nothing lost."""

import contextlib
import subprocess

import pytest
import tools

from benchmarks import crash
from tf_transfer.run.directory import RunDir


@contextlib.contextmanager
def disk(folder, size):
    """A file system of its own, or a skip where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.large
def test_a_full_disk_ends_with_a_line_and_with_room_the_run_goes_on(tmp_path):
    with disk(tmp_path / "disk", "2500k"):
        code, error = crash.run(tmp_path / "disk/run")
        assert code == 2
        assert error.count("\n") == 1 and "No space left on device" in error and "disk/run" in error
        # What was saved before is whole.
        checkpoints = list((tmp_path / "disk/run/checkpoints").rglob("step-*"))
        assert checkpoints and not list((tmp_path / "disk").rglob(".new-*"))
        subprocess.run(["mount", "-o", "remount,size=50m", str(tmp_path / "disk")], check=True)
        assert crash.run(tmp_path / "disk/run") == (0, "")
        assert RunDir(tmp_path / "disk/run").records("resume")


def test_numbers_that_go_wrong_are_told(tmp_path):
    options = tools.flags(**tools.TINY | {"run_dir": "run", "learning_rate": 1000.0, "clip_norm": 0.0, "epochs": 20})
    done = tools.run_py("--phase=scratch", *options, "--checkpoint_every=1", "--on_nan=rollback", cwd=tmp_path)
    tools.assert_refused(
        done, r"Training diverged, after 2 rollbacks: .* at step \d+ with the learning rate at [\d.e+]+\. "
    )
    back = RunDir(tmp_path / "run").records("rollback")
    assert [r["factor"] for r in back] == [0.5, 0.25]
