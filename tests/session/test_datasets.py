"""The data sets of a command: opened once, and read as if each reading were the first."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tf_transfer import config
from tf_transfer.console import Console, Nowhere
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError
from tf_transfer.modalities import base
from tf_transfer.run.directory import RunDir
from tf_transfer.session import datasets
from tf_transfer.training.problem import CLASSIFICATION


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            place = tmp_path / "data" / split / name
            place.mkdir(parents=True)
            for number in range(6):
                Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(place / f"{number}.png")
    return tmp_path / "data"


def test_a_folder_is_listed_once_a_command_and_each_reading_tells_of_its_own_files(folder, tmp_path, monkeypatch):
    opened, real = [], datasets.open_source

    def counted(*arguments, **more):
        opened.append(arguments[0])
        return real(*arguments, **more)

    monkeypatch.setattr(datasets, "open_source", counted)
    for split, name in (("train", "ant/0.png"), ("test", "bee/3.png")):
        (folder / split / Path(name)).write_bytes(b"damaged")
    chosen = config.from_values({"dataset": str(folder), "max_unreadable": 1})
    found = datasets.DataSets(
        chosen, RunDir(tmp_path / "run"), Console(Nowhere()), 8, base.find("image"), CLASSIFICATION
    )
    notes = found.training().facts["notes"]
    assert len(notes["unreadable"]) == 1 and notes["unreadable"][0].startswith("train/ant/0.png")
    # One may be unreadable of what is read at a time, as if the folder had been opened anew.
    _, _, _, unreadable = found.test()
    assert len(unreadable) == 1 and unreadable[0].startswith("test/bee/3.png")
    assert opened == [str(folder)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("ant", "bee"), "2 classes (ant, bee), "),
        ([f"c{i}" for i in range(7)], "7 classes (c0, c1, c2, c3, c4, ...), "),
        (("ant", "b" * 300), f"2 classes (ant, {'b' * 15}\N{HORIZONTAL ELLIPSIS}{'b' * 14}), "),
    ],
)
def test_the_line_about_the_data_names_the_classes(tmp_path, monkeypatch, names, words):
    lines = io.StringIO()
    split = Split(np.zeros((4, 2, 2, 3), np.uint8), np.zeros(4, np.int32), list("abcd"))
    loaded = TrainingData(split, split, tuple(names), np.ones(len(names)), {"notes": {}})
    monkeypatch.setattr(datasets.training_data, "load_training", lambda *_: loaded)
    monkeypatch.setattr(datasets.DataSets, "planned", lambda *_, **__: (None, None))
    chosen = config.from_values({"dataset": "flowers"})
    found = datasets.DataSets(chosen, RunDir(tmp_path), Console(lines), 8, base.find("image"), CLASSIFICATION)
    found.training()
    assert f"data  flowers: 4 to train, 4 to validate, {words}" in lines.getvalue()


def test_contradicting_labels_are_told_before_training_and_refused_in_the_test_split(folder, tmp_path):
    def opened(**options):
        chosen = config.from_values({"dataset": str(folder), **options})
        return datasets.DataSets(
            chosen, RunDir(tmp_path / "run"), Console(lines), 8, base.find("image"), CLASSIFICATION
        )

    lines = io.StringIO()
    shutil.copy(folder / "train/ant/1.png", folder / "train/bee/same.png")
    assert len(opened().training().facts["notes"]["conflicts"]) == 1
    assert re.search(r"note  conflicts: \w+: train/ant/1.png \(ant\) = \w+: train/bee/same.png", lines.getvalue())
    shutil.copy(folder / "train/ant/0.png", folder / "test/bee/bad.png")
    for read in (lambda made: made.training(), lambda made: made.test()):
        with pytest.raises(UserError, match=r"^--max_conflicts=0, but 1 .*: test: test/bee/bad.png \(bee\) = "):
            read(opened())
        read(opened(max_conflicts=1))


def test_a_run_keeps_the_way_in_which_its_splits_were_taken(tmp_path, write_picture):
    for number in range(20):
        write_picture(str(tmp_path / f"data/{'ab'[number % 2]}/{number}.png"), number)
    chosen = config.from_values({"dataset": str(tmp_path / "data")})
    run = RunDir(tmp_path / "run")

    def carve():
        made = datasets.DataSets(chosen, run, Console(Nowhere()), 8, base.find("image"), CLASSIFICATION)
        source, plan = made.planned(chosen.data.dataset, few_shot=True)
        return source.carve, plan.facts["digest"]

    by_contents = carve()
    # As version 0.1.0 recorded it, then another data set, then what a new command records.
    run.record("data", dataset=chosen.data.dataset, split_digest="x")
    run.record("data", dataset="other", carve=2)
    by_places = carve()
    assert (by_contents[0], by_places[0]) == (2, 1) and by_contents[1] != by_places[1]
    run.record("start_over")
    assert carve() == by_contents
    run.record("data", dataset=chosen.data.dataset, carve=2)
    assert carve() == by_contents


def test_test_examples_on_which_the_weights_were_trained_are_told(tmp_path):
    split = Split(np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3), np.zeros(4, np.int32), list("abcd"))
    (tmp_path / "old/head").mkdir(parents=True)
    (tmp_path / "old/head/backbone.weights.h5").touch()
    places = {split.digests[1].hex(): ["train", "one"], split.digests[3].hex(): ["validation", "three"]}
    RunDir(tmp_path / "old").write_json("data/digests.json", places)
    lines = io.StringIO()
    for weights, expected in (("old", ["b", "d"]), ("old/head/backbone.weights.h5", ["b", "d"]), ("imagenet", [])):
        chosen = config.from_values({"dataset": "x", "weights": weights})
        made = datasets.DataSets(
            chosen, RunDir(tmp_path / "run"), Console(lines), 8, base.find("image"), CLASSIFICATION
        )
        found = made.lent(split)
        assert [name.rpartition("test: ")[2] for name in found] == expected
    made.warnings([], [], ["train: one = test: b"])
    assert (
        "1 test pictures are among those that --weights=imagenet was trained on, such as train: one" in lines.getvalue()
    )


def test_the_line_about_the_data_counts_groups_and_groups_need_files(tmp_path, write_picture):
    lines = io.StringIO()
    for number in range(24):
        write_picture(str(tmp_path / f"data/{'ab'[number % 2]}/scene{number // 4}_{number}.png"), number)
    for dataset, rule in ((str(tmp_path / "data"), r"scene\d"), ("digits", "folder")):
        chosen = config.from_values({"dataset": dataset, "group_by": rule, "validation_fraction": 0.2})
        made = datasets.DataSets(
            chosen, RunDir(tmp_path / "run"), Console(lines), 8, base.find("image"), CLASSIFICATION
        )
        if dataset != "digits":
            # One scene of six tests, and one validates.
            assert made.training().facts["groups"] == {"train": 4, "validation": 1}
    assert "16 to train in 4 groups, 4 to validate in 1 group, 2 classes" in lines.getvalue()
    with pytest.raises(UserError, match=r"--group_by=folder: expected a folder or a CSV .*'digits' is none"):
        made.training()


def test_classes_too_small_to_be_tested_are_told_before_training(tmp_path, write_picture):
    lines = io.StringIO()
    for label, count in (("many", 12), ("one", 1), ("two", 2)):
        for number in range(count):
            write_picture(str(tmp_path / f"data/{label}/{number}.png"), 100 * len(label) + number)
    chosen = config.from_values({"dataset": str(tmp_path / "data")})
    made = datasets.DataSets(chosen, RunDir(tmp_path / "run"), Console(lines), 8, base.find("image"), CLASSIFICATION)
    notes = made.training().facts["notes"]["untested"]
    assert [note.partition(". ")[0] for note in notes] == [
        "1 of 3 classes are never tested: one", "2 of 3 classes are never validated: one, two"
    ]  # fmt: skip
    assert (
        "note  untested: 2, such as 1 of 3 classes are never tested: one. Add to them: it takes 2 different files"
        in lines.getvalue()
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [({}, "no class has examples enough: there is"), ({"examples_per_class": 1}, "the label budget")],
)
def test_why_nothing_validates_is_told(tmp_path, write_picture, options, why):
    for number in range(4):
        write_picture(str(tmp_path / f"data/{'ab'[number % 2]}/{number}.png"), number)
    chosen, lines = config.from_values({"dataset": str(tmp_path / "data")} | options), io.StringIO()
    made = datasets.DataSets(chosen, RunDir(tmp_path / "run"), Console(lines), 8, base.find("image"), CLASSIFICATION)
    assert made.training().validation is None
    assert re.search(f"{why} .*nothing to validate on", " ".join(lines.getvalue().split()))
