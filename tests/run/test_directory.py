import contextlib
import json
import math
import os

import numpy as np
import pytest

from tf_transfer.errors import UserError
from tf_transfer.run.directory import RunDir, finished_runs


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "runs" / "mine")


def files(run):
    return sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*"))


class Saved:
    """A classifier that leaves a file, or fails while it does."""

    def __init__(self, content, error=None):
        self.content, self.error = content, error

    def save(self, folder):
        (folder / "weights").write_text(self.content)
        if self.error:
            raise self.error


def test_nothing_is_made_before_the_first_write(run, tmp_path):
    assert run.config() is None and run.records() == [] and run.done("head") is None
    assert run.read_json("evaluate/metrics.json") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "ü \u2028"]}, [1, 2], "text"])
def test_json_comes_back(run, value):
    assert run.write_json("some/where.json", value) == run.path / "some/where.json"
    assert run.read_json("some/where.json") == value


def test_numpy_and_paths_become_plain_json(run, tmp_path):
    run.write_json("x.json", {"array": np.arange(3), "number": np.float32(0.5), "path": tmp_path})
    assert run.read_json("x.json") == {"array": [0, 1, 2], "number": 0.5, "path": str(tmp_path)}


def test_files_are_replaced_whole(run):
    for content in (b"first", b"second"):
        path = run.write_bytes("a/b.bin", content)
        assert path.read_bytes() == content
    assert files(run) == ["a", "a/b.bin"], "something is left beside it"


def test_a_file_is_not_there_before_it_is_whole(run, monkeypatch):
    run.write_text("x.txt", "old")
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match=r"--run_dir='.*mine' cannot be written: No space left on device"):
        run.write_text("x.txt", "new")
    assert (run.path / "x.txt").read_text() == "old"


def test_undecodable_names_can_be_written(run):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    run.write_text("x.txt", name)
    run.record("note", text=name)
    assert run.records()[0]["text"].startswith("caf")


# --- folders


def test_a_folder_takes_its_place_when_it_is_full(run):
    with run.write_folder("evaluate") as folder:
        (folder / "x").write_text("1")
        assert not (run.path / "evaluate").exists()
    assert files(run) == ["evaluate", "evaluate/x"]
    with run.write_folder("evaluate") as folder:
        (folder / "y").write_text("2")
        assert (run.path / "evaluate" / "x").read_text() == "1"
    assert files(run) == ["evaluate", "evaluate/y"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_an_error_inside_leaves_the_old_folder(run, error):
    with run.write_folder("evaluate") as folder:
        (folder / "x").write_text("old")
    with pytest.raises(type(error)), run.write_folder("evaluate") as folder:
        (folder / "x").write_text("new")
        raise error
    assert files(run) == ["evaluate", "evaluate/x"]
    assert (run.path / "evaluate/x").read_text() == "old"


def test_a_phase_is_done_when_its_model_is_kept(run):
    epochs = [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}]
    run.finish("head", Saved("1"), {"accuracy": np.float64(0.5), "class_names": ("a", "b")}, epochs)
    assert (run.path / "head" / "history.csv").read_text().split() == ["epoch,train_loss", "1,0.5", "2,0.25"]
    assert run.done("head") == {"accuracy": 0.5, "class_names": ["a", "b"]}
    assert (run.path / "head" / "weights").read_text() == "1"
    with pytest.raises(UserError, match="cannot be written: disk full"):
        run.finish("head", Saved("2", OSError("disk full")), {"accuracy": 0.9})
    assert run.done("head")["accuracy"] == 0.5 and (run.path / "head" / "weights").read_text() == "1"
    with pytest.raises(RuntimeError):
        run.finish("full", Saved("2", RuntimeError()), {})
    assert run.done("full") is None and files(run) == ["head", "head/done.json", "head/history.csv", "head/weights"]


def test_forgetting_and_starting_over(run):
    for phase in ("head", "full"):
        run.finish(phase, Saved("1"), {})
    run.record("note")
    run.forget("full")
    run.forget("never there")
    assert run.done("head") == {} and run.done("full") is None
    run.write_json("config.json", {"data": {"dataset": "old"}})
    run.start_over({"data": {"dataset": "new"}})
    head = [f"replaced/head{name}" for name in ("", "/done.json", "/history.csv", "/weights")]
    kept = ["replaced", "replaced/config.json", *head]
    assert files(run) == ["config.json", "records.jsonl", *kept]
    assert run.config() == {"data": {"dataset": "new"}}
    assert run.read_json("replaced/config.json") == {"data": {"dataset": "old"}}
    assert (run.path / "replaced/head/weights").read_text() == "1"


class CrashError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("n", range(1, 14))
def test_a_start_over_that_is_killed_is_ended_by_the_next_command(run, monkeypatch, n):
    run.write_json("config.json", {"data": {"dataset": "old"}})
    for phase in ("head", "full"):
        run.finish(phase, Saved(phase), {})
    left, moved = [n], []

    def counting(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                raise CrashError
            moved.append(args)
            return function(*args, **kwargs)

        return call

    for name in ("replace", "fsync", "unlink"):
        monkeypatch.setattr(os, name, counting(getattr(os, name)))
    with contextlib.suppress(CrashError):
        run.start_over({"data": {"dataset": "new"}})
    monkeypatch.undo()
    again = RunDir(run.path)
    again.sweep()
    new = again.config() == {"data": {"dataset": "new"}}
    place = again.path / "replaced" if new else again.path
    assert [(place / p / "weights").read_text() for p in ("head", "full")] == ["head", "full"]
    assert [r["kind"] for r in again.records()] == ["start_over"] * new
    assert new or n < 8, "begun is not ended"
    assert not [f for f in files(again) if "moving" in f or ".new" in f or ".old" in f]


def test_a_proposed_configuration_is_recorded_with_the_first_write(run):
    run.write_json("config.json", {"data": {"dataset": "old"}})
    run.finish("head", Saved("1"), {})
    before = files(run)
    run.propose({"data": {"dataset": "new"}}, start_over=True)
    assert files(run) == before and run.config() == {"data": {"dataset": "old"}}
    run.record("start")
    assert run.config() == {"data": {"dataset": "new"}} and run.done("head") is None
    assert [r["kind"] for r in run.records()] == ["start_over", "start"]
    run.record("note")
    assert [r["kind"] for r in run.records()] == ["start_over", "start", "note"]


def test_finished_runs_are_found(tmp_path):
    for name, phase in (("b", "head"), ("a", "head"), ("c", "full")):
        RunDir(tmp_path / name).finish(phase, Saved("1"), {})
    (tmp_path / "d" / "head").mkdir(parents=True)
    assert finished_runs(tmp_path, "head") == [tmp_path / "a", tmp_path / "b"]


# --- records


def test_what_an_attempt_recorded_is_taken_back(run):
    def kinds():
        return [(r["kind"], r.get("phase"), r.get("epoch")) for r in run.records()]

    run.record("plan", phase="full")
    run.record("epoch", phase="full", epoch=1)
    run.record("phase_end", phase="full")
    ended = kinds()
    run.rewind("full")
    assert kinds() == ended, "what has ended stays"
    run.record("plan", phase="full")
    run.record("epoch", phase="full", epoch=1)
    run.record("epoch", phase="scratch", epoch=1)
    run.record("data", phase="full")
    assert run.recorded("full") == 2
    run.record("epoch", phase="full", epoch=2)
    run.record("rollback", phase="full")
    # Another phase takes its own back: the place of full's records in the file changes, their number does not.
    run.rewind("scratch")
    run.rewind("full", 2)
    assert kinds() == [*ended, ("plan", "full", None), ("epoch", "full", 1), ("data", "full", None)]
    with (run.path / "records.jsonl").open("a") as file:
        file.write('{"kind": "epo')
    run.rewind("full")
    assert kinds() == [*ended, ("data", "full", None)]
    assert (run.path / "records.jsonl").read_text().endswith("}\n")


def test_records_come_back_in_order_and_by_kind(run):
    returned = [run.record(kind, n=i) for i, kind in enumerate(["epoch", "note", "epoch"])]
    assert run.records() == returned
    assert [r["n"] for r in run.records("epoch")] == [0, 2]
    assert all(set(r) == {"kind", "time", "n"} for r in returned)
    lines = (run.path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == returned


def test_records_take_numpy_and_what_is_no_number(run):
    run.record("x", array=np.arange(2), bad=math.nan, huge=math.inf)
    found = run.records()[0]
    assert found["array"] == [0, 1] and math.isnan(found["bad"]) and found["huge"] == math.inf


@pytest.mark.parametrize("cut", [b'{"kind": "epoch", "n": 1', b'{"kind": "epo', b"{", '{"kind": "ü"'.encode()[:-2]])
def test_a_line_that_a_crash_cut_off_costs_itself_only(run, cut):
    run.record("epoch", n=0)
    with (run.path / "records.jsonl").open("ab") as f:
        f.write(cut)
    assert [r["n"] for r in run.records()] == [0]
    run.record("epoch", n=2)
    run.record("epoch", n=3)
    assert [r["n"] for r in run.records()] == [0, 2, 3]


def test_separators_of_other_scripts_do_not_end_a_line(run):
    text = "a\u2028b\u2029c\x85d\x0ce\nf"
    run.record("note", text=text)
    assert run.records()[0]["text"] == text


# --- what is refused


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken' is a file; expected a folder"):
        RunDir(tmp_path / "taken")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        RunDir(tmp_path / "taken" / "below").record("note")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoints").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot be written: .*run/checkpoints"),
        RunDir(tmp_path / "run").write_folder("checkpoints/head/step"),
    ):
        pass


def test_damaged_json_is_told_with_its_file(run):
    run.write_text("config.json", '{"data": ')
    with pytest.raises(UserError, match=r"mine/config\.json is damaged .*; use another --run_dir") as e:
        run.config()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [b"[]\n", b"{\n", b"\xff\n5\n", b"\n\n"])
def test_records_none_of_which_can_be_read_are_told(run, content):
    run.write_bytes("records.jsonl", content)
    with pytest.raises(
        UserError, match=r"mine/records\.jsonl is damaged, no line of it is a record; use another --run"
    ):
        run.records()
    # A crash may have cut off the first line that was ever written.
    run.write_bytes("records.jsonl", b'{"kind": "st')
    assert run.records() == []


def test_the_folder_of_somebody_else_is_not_touched(run):
    (run.path / "data").mkdir(parents=True)
    with pytest.raises(UserError, match="is not the folder of a run, but holds data"):
        run.config()
    run.write_text("config.json", "[1]")
    with pytest.raises(UserError, match=r"config\.json is not the configuration of a run"):
        run.config()
    run.write_json("config.json", {"data": {}})
    assert run.config() == {"data": {}}


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDir("~/runs").path == tmp_path / "runs"


def test_a_history_whose_columns_changed_is_written_whole(tmp_path):
    run = RunDir(tmp_path / "run")
    run.finish("head", Saved("1"), {}, [{"epoch": 1, "before": 2.0}, {"epoch": 2, "after": 3.0}])
    rows = (tmp_path / "run" / "head" / "history.csv").read_text().splitlines()
    assert rows == ["epoch,before,after", "1,2.0,", "2,,3.0"]
