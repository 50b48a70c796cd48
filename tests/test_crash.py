"""A run that is killed and goes on, in processes of its own: the short form of `python -m benchmarks.crash`."""

import re
import shutil
import signal

import pytest

from benchmarks import crash
from tf_transfer.run.directory import RunDir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crash") / "run"
    assert crash.run(folder) == (0, "")
    return folder


def test_stopped_in_the_middle_it_ends_as_it_would_have(undisturbed, tmp_path):
    code, error = crash.stopped(tmp_path / "run", signal.SIGTERM)
    assert code == 143 and "stopped by SIGTERM; training is saved, and the same command goes on." in error
    assert crash.run(tmp_path / "run") == (0, "")
    assert crash.differences(undisturbed, tmp_path / "run") == []
    assert [r["phase"] for r in RunDir(tmp_path / "run").records("resume")] == ["full"]
    assert not (tmp_path / "run/checkpoints/full").exists()


@pytest.mark.large
def test_killed_while_writing_it_ends_as_it_would_have(undisturbed, tmp_path):
    places = crash.disturbed(tmp_path / "run", kills=2, seconds=8, seed=1)
    assert sum(places.values()) == 2
    assert crash.differences(undisturbed, tmp_path / "run") == []


def test_differences_are_seen(undisturbed, tmp_path):
    other = shutil.copytree(undisturbed, tmp_path / "other")
    lines = (other / "records.jsonl").read_text().splitlines(keepends=True)
    (other / "records.jsonl").write_text("".join([*lines[:3], lines[2], *lines[3:]]))
    assert any("records" in found for found in crash.differences(undisturbed, other))


@pytest.mark.large
def test_other_options_do_not_go_on_with_it(undisturbed, tmp_path):
    crash.stopped(tmp_path / "run", signal.SIGKILL)
    code, error = crash.run(tmp_path / "run", "--learning_rate=full:0.01")
    assert code == 2
    assert re.search(
        r"--phase=full was interrupted at step \d+ with other options: learning_rate was [\d.]+, now", error
    )
    assert "Give the same ones to go on, or --restart to begin it anew." in error
