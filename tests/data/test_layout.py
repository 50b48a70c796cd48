"""Which folders are splits and which are classes: by their names, by what is in them, or as `layout` says."""

import functools
import os
from collections import Counter

import pytest

from tf_transfer.data import folder, split_words
from tf_transfer.errors import UserError
from tf_transfer.modalities import base

open_folder = functools.partial(folder.open_folder, modality=base.find("image"))


@pytest.fixture
def make(tmp_path, write_picture):
    """Writes pictures at the given relative paths, several for `path*3`; returns the folder."""

    def write(*names):
        for name in names:
            path, _, count = name.partition("*")
            for i in range(int(count or 1)):
                write_picture(str(tmp_path / "data" / path / f"{i}.png"), i)
        return str(tmp_path / "data")

    return write


def counts(source):
    """Number of examples by split and class."""
    return {
        split: dict(Counter(source.class_names[label] for label in source.labels(split))) for split in source.splits
    }


GIVEN = {"train": {"ant": 3, "bee": 2}, "test": {"ant": 1, "bee": 1}}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("Training", "Testing"),
        ("train", "holdout"),
        ("train", "eval"),
        ("Training Set", "test_set"),
        ("train_images", "test_images"),
        ("trainImages", "testImages"),
        ("train2017", "test2017"),
        ("01_train", "02_test"),
        ("train", "test_images"),
        ("train_images", "test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/dataset/train", "archive/dataset/test"),
        ("train/train", "test/test"),
        ("train/pictures", "test/pictures"),
    ],
)
def test_splits_spelt_otherwise(make, train, test):
    root = make(f"{train}/ant*3", f"{train}/bee*2", f"{test}/ant", f"{test}/bee")
    source = open_folder(root)
    assert source.class_names == ("ant", "bee") and counts(source) == GIVEN
    assert "splits" not in source.notes


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "dev", "test"), {"train": "train", "dev": "validation", "test": "test"}),
        (("train", "eval", "test"), {"train": "train", "eval": "validation", "test": "test"}),
        (("train", "val", "eval"), {"train": "train", "val": "validation", "eval": "test"}),
        (("Training", "valid", "Hold-out"), {"Training": "train", "valid": "validation", "Hold-out": "test"}),
        (("train", "val", "test", "holdout"), {"train": "train", "val": "validation", "test": "test"}),
        (("train_test", "attest", "evaluator", "trains"), {}),
    ],
)
def test_words_of_splits(names, splits):
    assert split_words.resolve(names) == splits


def test_what_is_read_unusually_is_said(make):
    root = make(
        "seg_train/seg_train/ant*3", "seg_train/seg_train/bee*2", "seg_test/seg_test/ant", "seg_pred/seg_pred*4"
    )
    notes = open_folder(root).notes
    assert notes["layout"] == ["Folders were read so: seg_train/seg_train as train, seg_test/seg_test as test."]
    assert notes["ignored_folders"] == ["Folders beside train that are no splits: seg_pred."]


def test_a_test_folder_without_classes_gives_a_count_and_no_class(make):
    root = make("abc_train/abc_train/ant*5", "abc_train/abc_train/bee*5", "abc_test/abc_test*3")
    source = open_folder(root)
    assert source.class_names == ("ant", "bee")
    assert source.notes["ignored"] == ["3 files are not taken for pictures of a class: 3 .png, in no class folder."]
    assert "set aside" in source.notes["splits"][0]


@pytest.mark.parametrize("wrapper", ["flower_photos", "archive/flower_photos", "patient0"])
def test_a_wrapper_is_looked_through(make, wrapper):
    root = make(f"{wrapper}/ant*3", f"{wrapper}/bee*2")
    for junk in ("__MACOSX", "annotations"):
        os.makedirs(f"{root}/{junk}/flower_photos")
        with open(f"{root}/{junk}/flower_photos/._0.png", "wb") as file:
            file.write(b"\0\5\x16\7")
    with open(f"{root}/LICENSE.txt", "w") as file:
        file.write("free")
    source = open_folder(root)
    assert source.class_names == ("ant", "bee")
    assert source.notes["layout"] == [f"Folders were read so: {wrapper} as the classes."]
    # Names begin at the folder that was given.
    assert all(name.startswith(f"{wrapper}/") for name in source.load("test").names)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "tram"),
        ("train_station", "test_tube"),
        ("train_station/a", "train_station/b", "airport/a"),
        ("testing_ground/x", "quarry/x"),
        ("animals/cat", "animals/dog", "animals/other", "vehicles/car", "vehicles/bus", "vehicles/other"),
        ("n01443537/images", "n01629819/images"),
    ],
)
def test_ordinary_classes_stay_classes(make, names):
    source = open_folder(make(*[f"{name}*5" for name in names]))
    assert source.class_names == tuple(sorted({name.split("/")[0] for name in names}))


def test_thumbnails_of_a_file_server_are_left_out(make):
    source = open_folder(make("ant*5", "ant/@eaDir/0.png*2", "bee*5"))
    assert sum(len(source.labels(split)) for split in source.splits) == 10


CROSSED = [f"patient{p}/{c}" for p in range(3) for c in ("daisy", "rose")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            CROSSED,
            r"its 3 folders patient0, patient1, patient2 hold the same sub-folders daisy, rose: which are the "
            r"classes\? For the lower ones give folder\(path=..., layout=\*/CLASS\), for the upper ones layout=CLASS",
        ),
        ([f"train/{name}" for name in CROSSED], r"layout=SPLIT/\*/CLASS\), for the upper ones layout=SPLIT/CLASS"),
        (["p0/daisy", "p1/rose", "p2/daisy", "p3/rose", "p4/rose"], "hold the same sub-folders daisy, rose"),
        (["learn/a", "learn/b", "verify/a", "verify/b"], "if the upper ones are splits, name them train"),
        (
            ["daisy/train", "daisy/test", "rose/train", "rose/Testing"],
            r"hold the same sub-folders Testing, test, train, which are named like splits. .* layout=CLASS/SPLIT\)",
        ),
        (
            ["flowers/train/a", "flowers/train/b", "flowers/test/a", "samples"],
            "flowers, samples would be the classes, but flowers holds the splits test, train: give the path of flowers",
        ),
        (["train", "test"], r"its folders test, train are named like splits, and their pictures stand right in them"),
        (["train", "test1"], r"named like splits.*such as test1/CLASS. A CSV"),
        (["test/a", "test/b"], "found test but no folder train with class folders"),
        (["Train/a", "Train/b", "train/a"], "Train, train name a split twice"),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(make, names, message):
    root = make(*names)
    with pytest.raises(UserError, match=message) as error:
        open_folder(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layout", "names", "expected"),
    [
        ("*/CLASS", [f"{name}*5" for name in CROSSED], {"daisy": 15, "rose": 15}),
        ("CLASS", [f"{name}*5" for name in CROSSED], {f"patient{p}": 10 for p in range(3)}),
        ("CLASS/", ["train*5", "test*5"], {"train": 5, "test": 5}),
    ],
)
def test_a_layout_names_the_level_of_the_classes(make, layout, names, expected):
    found = counts(open_folder(make(*names), layout=layout))
    assert sum((Counter(part) for part in found.values()), Counter()) == expected


@pytest.mark.parametrize(
    ("layout", "paths"),
    [
        ("CLASS/SPLIT", "{c}/{s}"),
        ("SPLIT/CLASS", "{s}/{c}"),
        ("SPLIT/*/CLASS", "{s}/p0/{c}"),
        ("*/CLASS/SPLIT", "p/{c}/{s}"),
    ],
)
def test_a_layout_names_the_level_of_the_splits(make, layout, paths):
    sizes = {("Training", "ant"): 3, ("Training", "bee"): 2, ("test", "ant"): 1, ("test", "bee"): 1}
    root = make(*[f"{paths.format(s=s, c=c)}*{n}" for (s, c), n in sizes.items()])
    assert counts(open_folder(root, layout=layout)) == GIVEN


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("KLASS", "layout: expected CLASS once, SPLIT once at most .* got 'KLASS'"),
        ("CLASS/CLASS", "expected CLASS once"),
        ("SPLIT", "expected CLASS once"),
        ("SPLIT/CLASS", "expected folders named train, validation or test in the place of SPLIT, found daisy, rose"),
    ],
)
def test_a_wrong_layout_is_one_line(make, layout, message):
    root = make("daisy/train", "rose/train")
    with pytest.raises(UserError, match=message) as error:
        open_folder(root, layout=layout)
    assert "\n" not in str(error.value)


def test_links_to_folders_are_followed_and_loops_are_not(make, tmp_path):
    root = make("ant*5", "bee*5")
    pool = make("../pool/more*5")
    os.symlink(f"{pool}/../pool/more", f"{root}/ant/session2")
    os.symlink(f"{pool}/../pool/more", f"{root}/cat")
    os.symlink(root, f"{root}/bee/again")
    os.symlink("nowhere", f"{root}/bee/gone")
    source = open_folder(root)
    total = sum((Counter(part) for part in counts(source).values()), Counter())
    assert total == {"ant": 10, "bee": 5, "cat": 5}
    assert source.notes["links"] == ["1 links lead back to a folder above them and are left out: bee/again."]
    assert "1 broken link" in source.notes["ignored"][0]
