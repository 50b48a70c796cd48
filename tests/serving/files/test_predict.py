"""Predicting files: none is lost, doubled or cut, whatever happens between."""

import contextlib
import csv
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tools
from PIL import Image

from tf_transfer.console import Console
from tf_transfer.errors import UserError
from tf_transfer.machine import signals
from tf_transfer.serving import Predictor, files
from tf_transfer.serving.files import answer, formats


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


JUNK = range(7, 1200, 50)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of 1,200 names of 40 pictures; every fiftieth is junk."""
    base = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(random.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)).save(base / f"{i}.png")
    (base / "junk").write_bytes(b"junk")
    (base / "in").mkdir()
    for i in range(1200):
        os.link(base / ("junk" if i in JUNK else f"{i % 40}.png"), base / "in" / f"{i:04d}.png")
    return base


@functools.cache
def loaded(run, top=None):
    """A predictor that is loaded once for all tests."""
    return Predictor(run, top=top)


def ask(run, folder, *, images="in", output="out.csv", top=None, watch=None, restart=False):
    """Predicts; returns how many were bad, and what was said."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(answer, "Predictor", lambda path, top=None: contextlib.nullcontext(loaded(path, top)))
        bad = files.predict(run, files.Asked.parse(images, output, top, watch, restart), Console(said))
    return bad, said.getvalue()


def read(file):
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_answers_are_those_of_the_predictor_and_bad_files_are_named(run, many):
    bad, said = ask(run, many, output="all.jsonl")
    lines = [json.loads(line) for line in (many / "all.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [f"in/{i:04d}.png" for i in range(1200)]
    assert [i for i, line in enumerate(lines) if line["error"]] == [*JUNK] and bad == 24
    for at in (1, 40, 1199):
        (expected,) = loaded(run).predict(many / "in" / f"{at:04d}.png")
        assert lines[at]["label"] == expected.label
        assert list(lines[at]["probabilities"].values()) == pytest.approx(list(expected.probabilities.values()))
    said = said.splitlines()
    assert said[20] == "... and 1,156 more"
    assert [line.split()[0] for line in said[21:41]] == [f"in/{i:04d}.png" for i in JUNK[:20]]
    assert all(line.endswith("  not read: no JPEG, PNG, GIF, BMP or WebP picture") for line in said[21:41])
    assert said[41:] == [
        "... and 4 more that were not read; all.jsonl names them all",
        "predict  1,176 predicted, 24 not read; all in all.jsonl",
    ]
    assert not [name for name in names(many) if name.startswith(".")]


@pytest.fixture(scope="module")
def undisturbed(run, many):
    """The output of each form, made in one go."""
    made = {}
    for ending, top in ((".csv", None), (".jsonl", "3"), (".parquet", None)):
        ask(run, many, output=f"whole{ending}", top=top)
        made[ending] = top, (many / f"whole{ending}").read_bytes()
    return made


@pytest.mark.parametrize("ending", formats.FORMATS)
def test_interrupted_it_goes_on(run, many, undisturbed, monkeypatch, ending):
    top, expected = undisturbed[ending]
    output = many / f"broken{ending}"
    before = formats.STARTS[ending] + b"what was there before"
    output.write_bytes(before)
    predict, asked = Predictor.stream, []

    def stream(self, files):
        for at, p in enumerate(predict(self, files)):
            if at == stop:
                raise signals.Stopped(signal.SIGTERM)
            asked.append(p.file)
            yield p

    monkeypatch.setattr(Predictor, "stream", stream)
    for stop in (500, 400):  # noqa: B007
        with pytest.raises(signals.Stopped):
            ask(run, many, output=output.name, top=top)
        assert output.read_bytes() == before
        # As if the power had failed in the midst of a line.
        with (many / f".broken{ending}.part").open("ab") as part:
            part.write(b'[["in/0999.png", "3", 0.5, {"')
    stop = None
    _, said = ask(run, many, output=output.name, top=top)
    assert f"going on: {480 + 384} of 1,200 are answered already" in said
    assert output.read_bytes() == expected
    # No more than the batch under way was asked for twice.
    assert len(asked) == 1200 + 500 % 32 + 400 % 32
    assert not [name for name in names(many) if name.startswith(".")]


@pytest.mark.large
def test_killed_in_the_midst_it_goes_on(run, many, undisturbed):
    top, expected = undisturbed[".jsonl"]
    command = [sys.executable, tools.ROOT / "run.py", "--phase=predict", f"--saved_model={run}", "--images=in"]
    command += [f"--top={top}", "--predictions=killed.jsonl"]
    part, sizes = many / ".killed.jsonl.part", []
    for lines in (3, 20):
        with subprocess.Popen(command, cwd=many, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") >= lines):
                time.sleep(0.001)
            running.kill()
        assert running.returncode == -signal.SIGKILL, "it was done before it was killed"
        assert not (many / "killed.jsonl").exists()
        sizes.append(part.stat().st_size)
    assert sizes[0] < sizes[1]
    done = subprocess.run(command, cwd=many, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "")
    assert re.match(r"predict  going on: \d+ of 1,200 are answered already\n", done.stdout)
    assert (many / "killed.jsonl").read_bytes() == expected
    assert not part.exists()


def test_answers_of_other_work_are_kept_until_they_are_dropped(run, many, monkeypatch, tmp_path):
    few = many / "in/000*.png"
    stream = Predictor.stream

    def broken(self, files):
        yield from list(stream(self, files))
        raise signals.Stopped(signal.SIGINT)

    def interrupt():
        with monkeypatch.context() as patch, pytest.raises(signals.Stopped):
            patch.setattr(Predictor, "stream", broken)
            patch.setattr(loaded(run, None), "batch_size", 4)
            ask(run, tmp_path, images=str(few), output="o.csv")

    part = tmp_path / ".o.csv.part"
    interrupt()
    kept = part.read_bytes()
    for options, key in (({"top": "2"}, "--top"), ({"images": str(many / "in/0*.png")}, "--inputs")):
        asked = {"images": str(few), "output": "o.csv"} | options
        told = rf"^--predictions='o.csv': 8 pictures are answered for an .* had another {key}\. Give that one again"
        with pytest.raises(UserError, match=told):
            ask(run, tmp_path, **asked)
        assert part.read_bytes() == kept
        _, said = ask(run, tmp_path, **asked, restart=True)
        assert "going on" not in said and not part.exists()
        (tmp_path / "o.csv").unlink()
        interrupt()
    model = b'{"work": {"--saved_model": ["'
    part.write_bytes(kept.replace(model, model + b"0"))
    with pytest.raises(UserError, match=r"had another --saved_model\. Give"):
        ask(run, tmp_path, images=str(few), output="o.csv")
    # Of no answers none is lost, and what is no such file at all is written over.
    for content in (kept.replace(model, model + b"0").partition(b"\n")[0] + b"\n", b"\0\xff junk\n"):
        part.write_bytes(content)
        assert "going on" not in ask(run, tmp_path, images=str(few), output="o.csv")[1]
        assert len((tmp_path / "o.csv").read_text().splitlines()) == 11


@pytest.fixture
def stopping(monkeypatch):
    """Ends a stream after so many answers, as a signal does, and lists the files that were answered."""
    stream, told = Predictor.stream, types.SimpleNamespace(after=None, asked=[])

    def broken(self, files):
        for p in list(stream(self, files))[: told.after]:
            told.asked.append(p.file)
            yield p
        if told.after:
            raise signals.Stopped(signal.SIGINT)

    monkeypatch.setattr(Predictor, "stream", broken)
    return told


def test_files_that_come_or_are_named_twice_between_two_commands(run, many, stopping, tmp_path):
    """Answered once for each time that they are named; what was answered stays answered."""
    (tmp_path / "in").mkdir()
    for i in range(40):
        os.link(many / "1.png", tmp_path / "in" / f"b{i:02d}.png")
    listed = tmp_path / "l.csv"
    listed.write_text("path\nin/b00.png\nin/b00.png\n" + "".join(f"in/b{i:02d}.png\n" for i in range(40)))
    stopping.after = 32
    with pytest.raises(signals.Stopped):
        ask(run, tmp_path, images="l.csv")
    listed.write_text("path\nin/a.png\n" + listed.read_text().partition("\n")[2])
    stopping.after = None
    bad, _ = ask(run, tmp_path, images="l.csv")
    rows = read(tmp_path / "out.csv")
    assert len(rows) == len(stopping.asked) == 43 and bad == 1
    assert sorted(row["file"] for row in rows) == sorted(
        ["in/a.png", "in/b00.png", "in/b00.png"] + [f"in/b{i:02d}.png" for i in range(40)]
    )


def test_pictures_that_change_or_go_between_two_commands(run, many, stopping, tmp_path):
    """Are asked for again, or are no longer there; the others stay answered."""
    (tmp_path / "in").mkdir()
    for i in range(40):
        (tmp_path / f"in/{i:02d}.png").write_bytes((many / "1.png").read_bytes())
    stopping.after = 32
    with pytest.raises(signals.Stopped):
        ask(run, tmp_path)
    (tmp_path / "in/03.png").write_bytes(b"junk")
    (tmp_path / "in/05.png").unlink()
    # Another one that is killed at once changes nothing of it.
    stopping.after = 1
    with pytest.raises(signals.Stopped):
        ask(run, tmp_path)
    stopping.after, stopping.asked = None, []
    bad, said = ask(run, tmp_path)
    assert "note  2 pictures have changed since they were answered, or are gone: dropped." in said
    assert "going on: 30 of 39 are answered already" in said
    assert stopping.asked == ["in/03.png", *(f"in/{i}.png" for i in range(32, 40))]
    rows = {row["file"]: row for row in read(tmp_path / "out.csv")}
    assert sorted(rows) == [f"in/{i:02d}.png" for i in range(40) if i != 5]
    assert bad == 1 and rows["in/03.png"]["error"]


def test_an_output_that_cannot_be_written(run, many, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--predictions='[^']*o.csv' cannot be written: (File exists|Not a directory)"):
        ask(run, many, output=str(tmp_path / "file/o.csv"))


# --- a folder that is being filled


def test_watching_until_nothing_comes(run, many, tmp_path, monkeypatch):
    monkeypatch.setattr(answer, "PAUSE", 0.05)
    (tmp_path / "in").mkdir()
    content = (many / "1.png").read_bytes()

    def fill():
        with (tmp_path / "in/slow.png").open("wb", buffering=0) as slow:
            for at in range(0, len(content), 300):
                slow.write(content[at : at + 300])
                (tmp_path / "in" / f"{at}.png").write_bytes(content)
                time.sleep(0.03)

    filling = threading.Thread(target=fill)
    filling.start()
    bad, said = ask(run, tmp_path, watch="1")
    filling.join()
    rows = read(tmp_path / "out.csv")
    assert bad == 0 and sorted(Path(row["file"]).name for row in rows) == names(tmp_path / "in")
    assert len({(row["label"], row["probability"]) for row in rows}) == 1
    assert "watching in, until nothing has come for 1 s" in said and names(tmp_path) == ["in", "out.csv"]


def test_what_changes_while_it_is_watched_is_answered_again(run, many, tmp_path, monkeypatch):
    """A file that had stalled half way, and one that was written over; the output has them as they are now."""
    monkeypatch.setattr(answer, "PAUSE", 0.05)
    (tmp_path / "in").mkdir()
    whole = (many / "1.png").read_bytes()
    (tmp_path / "in/stalled.png").write_bytes(whole[:-100])
    (tmp_path / "in/over.png").write_bytes((many / "2.png").read_bytes())
    (tmp_path / "in/gone.png").write_bytes(whole)
    seen = []

    def change():
        while len(seen) < 3:
            with contextlib.suppress(FileNotFoundError):
                seen[:] = read(tmp_path / "out.csv")
            time.sleep(0.02)
        (tmp_path / "in/stalled.png").write_bytes(whole)
        (tmp_path / "in/over.png").write_bytes(b"junk")
        (tmp_path / "in/gone.png").unlink()

    changing = threading.Thread(target=change)
    changing.start()
    bad, said = ask(run, tmp_path, watch="1")
    changing.join()
    # The output was there, with all that was answered, while it went on.
    assert {row["file"]: bool(row["error"]) for row in seen} == {
        "in/gone.png": False, "in/over.png": False, "in/stalled.png": True
    }  # fmt: skip
    rows = {row["file"]: row for row in read(tmp_path / "out.csv")}
    assert {name: bool(row["error"]) for name, row in rows.items()} == {
        "in/gone.png": False, "in/over.png": True, "in/stalled.png": False
    }  # fmt: skip
    assert rows["in/stalled.png"]["label"] == rows["in/gone.png"]["label"] and bad == 1
    assert "predict  3 answered, the last in/stalled.png" in said and "predict  4 answered" not in said


def test_a_signal_ends_watching_with_all_that_is_answered_written(run, many, tmp_path):
    (tmp_path / "in").mkdir()
    command = [sys.executable, tools.ROOT / "run.py", "--phase=predict", f"--run_dir={run}", "--images=in"]
    command += ["--watch", "--predictions=out.csv"]
    expected = []
    for name, number in (("a", signal.SIGTERM), ("b", signal.SIGINT)):
        pipes = {"stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=tmp_path, preexec_fn=tools.heed_interrupts, **pipes) as running:
            for i in range(3):
                os.link(many / f"{i}.png", tmp_path / f"in/{name}{i}.png")
                expected.append(f"in/{name}{i}.png")
            said = [next(line for line in running.stdout if "answered, the last" in line)]
            running.send_signal(number)
            said += running.stdout.readlines()
        assert running.returncode == 0
        assert said[-1] == "predict  stopped watching; the same command goes on with what comes next\n"
        rows = read(tmp_path / "out.csv")
        assert [row["file"] for row in rows] == expected and all(row["label"] for row in rows)
