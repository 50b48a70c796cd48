"""The data sets of a command: opened once, and read as if each reading were the first."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tf_transfer import config
from tf_transfer.console import Console, Nowhere
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
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

    def counted(*arguments):
        opened.append(arguments[0])
        return real(*arguments)

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
        (("ant", "b" * 300), f"2 classes (ant, {'b' * 29}\N{HORIZONTAL ELLIPSIS}), "),
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
