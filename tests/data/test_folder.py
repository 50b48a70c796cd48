import functools
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from tf_transfer.data import folder
from tf_transfer.data.splits import carve_test
from tf_transfer.errors import UserError
from tf_transfer.modalities import base

open_folder = functools.partial(folder.open_folder, modality=base.find("image"))


@pytest.fixture
def make(tmp_path, write_picture):
    """Writes pictures at the given relative paths; returns the folder and the pixels by path."""

    root = tmp_path / "pictures"
    root.mkdir()

    def write(*names):
        return root, {name: write_picture(str(root / name), i) for i, name in enumerate(names)}

    return write


def grid(*classes, count=10, prefix=""):
    return [f"{prefix}{label}/{i}.png" for label in classes for i in range(count)]


def test_split_folders(make):
    names = [*grid("cat", "ant", count=3, prefix="train/"), "val/cat/a.PNG", "test/ant/x/deep.jpeg", "test/ant/y.gif"]
    root, pixels = make(*names)
    source = open_folder(str(root))
    assert source.class_names == ("ant", "cat")
    assert source.splits == ("train", "validation", "test")
    assert source.labels("train").tolist() == [0, 0, 0, 1, 1, 1] and source.labels("train").dtype == np.int32
    train = source.load("train")
    assert train.names == sorted(grid("cat", "ant", count=3, prefix="train/"))
    np.testing.assert_array_equal(train.inputs, [pixels[name] for name in train.names])
    assert source.load("validation").labels.tolist() == [1]
    assert source.load("test").names == ["test/ant/x/deep.jpeg", "test/ant/y.gif"]
    assert source.notes == {}


def test_a_test_split_is_carved_stratified_and_stays(make):
    root, _ = make(*grid("a", "b", count=10), *grid("c", count=5))
    source = open_folder(str(root))
    assert source.splits == ("train", "test")
    counts = np.bincount(source.labels("test"))
    assert counts.min() >= 1 and (counts < [10, 10, 5]).all()
    train, test = source.load("train"), source.load("test")
    assert not set(train.names) & set(test.names) and len(train) + len(test) == 25
    assert open_folder(str(root)).load("test").names == test.names
    assert f"{counts.sum()} of 25 examples" in source.notes["splits"][0]
    assert set(test.names) < set(open_folder(str(root), test_fraction=0.6).load("test").names)


def test_a_folder_that_grows_keeps_its_splits_and_copies_stay_together(make, write_picture):
    root, _ = make(*grid("a", "b", count=40))
    test = set(open_folder(str(root)).load("test").names)
    copies = {}
    for name in grid("a", "b", count=40):
        copies[name] = name.replace("/", "/copy of ")
        shutil.copy(root / name, root / copies[name])
    for i, name in enumerate(grid("a", "b", count=40)):
        write_picture(str(root / name.replace("/", "/new")), 1000 + i)
    # Another name, and a file that is gone, move nothing either.
    os.rename(root / "a/0.png", root / "a/zero.png")
    os.unlink(root / "b/1.png")
    source = open_folder(str(root))
    found = set(source.load("test").names)
    same = {name for name in test if name not in ("a/0.png", "b/1.png")}
    assert same <= found and same == {name for name in copies if name in found}
    assert {copies[name] for name in test} <= found and ("a/zero.png" in found) == ("a/0.png" in test)
    assert any("/new" in name for name in found)
    kept = source.load("train").keys.contents
    assert not set(kept) & set(source.load("test").keys.contents)


def test_the_test_split_has_one_class_a_content(make):
    root, _ = make(*grid("a", "b", prefix="train/"), *grid("a", "b", count=2, prefix="test/"), "train/b/10.png")
    shutil.copy(root / "test/a/1.png", root / "test/b/one.png")
    shutil.copy(root / "test/a/0.png", root / "train/b/nought.png")
    # A copy of the same class is a duplicate; two classes within train are counted where they are decoded.
    shutil.copy(root / "test/b/0.png", root / "train/b/copy.png")
    shutil.copy(root / "train/a/2.png", root / "train/b/two.png")
    source = open_folder(str(root))
    assert sorted(source.conflicts()) == [
        "test: test/a/0.png (a) = train: train/b/nought.png (b)",
        "test: test/a/1.png (a) = test: test/b/one.png (b)",
    ]
    assert open_folder(str(root), carve=1).conflicts() == []


def test_a_run_that_began_before_is_carved_by_the_places_of_its_files(make):
    root, _ = make(*grid("a", "b", count=10), *grid("c", count=5))
    source = open_folder(str(root), carve=1)
    train, test = carve_test(np.repeat([0, 1, 2], [10, 10, 5]), 3, 0.2)
    names = sorted(grid("a", "b", count=10) + grid("c", count=5))
    assert source.load("test").names == [names[i] for i in test] and len(train) == 20
    assert source.keys("train") is None and "5 of 25 examples, the same share" in source.notes["splits"][0]


def test_a_run_that_began_before_keeps_classes_that_are_refused_today(make):
    root, _ = make(*grid("Cat", "cat", "dog", count=3))
    with pytest.raises(UserError, match="'Cat' and 'cat', which differ only in case"):
        open_folder(str(root))
    assert open_folder(str(root), carve=1).class_names == ("Cat", "cat", "dog")


def test_the_carved_split_does_not_depend_on_where_the_folder_is(make, tmp_path):
    root, _ = make(*grid("a", "b", count=10))
    first = open_folder(str(root)).load("test").names
    os.rename(root, tmp_path / "moved")
    assert open_folder(str(tmp_path / "moved")).load("test").names == first


def test_without_a_test_folder_validation_is_the_test_split(make):
    root, _ = make(*grid("a", "b", prefix="train/"), "valid/a/1.png")
    source = open_folder(str(root))
    assert source.splits == ("train", "test") and source.load("test").names == ["valid/a/1.png"]
    assert "validation split serves" in source.notes["splits"][0]


def test_train_alone_is_carved(make):
    root, _ = make(*grid("a", "b", prefix="train/"))
    assert 2 <= len(open_folder(str(root)).labels("test")) <= 18


def test_a_class_may_be_called_train(make):
    root, _ = make(*grid("train", "tram"))
    assert open_folder(str(root)).class_names == ("train", "tram")


def test_indices_and_size(make):
    root, pixels = make(*grid("a", "b", prefix="train/"), "test/a/1.png")
    source = open_folder(str(root))
    part = source.load("train", np.array([11, 2]))
    assert part.names == ["train/b/1.png", "train/a/2.png"] and part.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(part.inputs, [pixels[name] for name in part.names])
    assert source.load("train", size=4).inputs.shape == (20, 4, 4, 3)
    assert source.load("train", size=9).inputs.shape == (20, 6, 6, 3)


def test_other_files_are_counted(make):
    root, _ = make(*grid("a", "b"))
    for name in ("a/notes.txt", "a/._1.png", "b/list.TXT", "b/noextension", "loose.png"):
        (root / name).write_bytes(b"?")
    (root / "empty").mkdir()
    (root / ".cache").mkdir()
    source = open_folder(str(root))
    assert source.class_names == ("a", "b")
    assert source.notes["ignored"] == [
        "5 files are not taken for pictures of a class: 1 .png, in no class folder; 2 .txt, no picture by content; "
        "1 hidden; 1 without ending, no picture by content."
    ]
    assert source.notes["empty"] == ["1 class folders without pictures: empty."]


def test_every_reason_for_which_a_file_is_passed_over_is_told(make):
    root, _ = make(*grid("a", "b"))
    (root / "a/empty.txt").touch()
    (root / "a/shot.nef").write_bytes(b"MM\0*\0\0\0\x08" + b"\0" * 40)
    (root / "b/film.mov").write_bytes(b"\0\0\0\x18ftypqt  " + b"\0" * 40)
    (root / "b/gone").symlink_to("nowhere")
    os.mkfifo(root / "b/pipe.log")
    assert open_folder(str(root)).notes["ignored"] == [
        "5 files are not taken for pictures of a class: 1 .log, no file but a pipe or device; 1 .mov, no picture by "
        "content; 1 .nef, a TIFF by content, such as the raw file of a camera; those named .tif or .tiff are read; "
        "1 .txt, empty; 1 broken link."
    ]


def test_heic_without_its_package_is_named_with_the_reason(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    root, _ = make(*grid("a", "b", prefix="train/"), "test/a/1.png")
    (root / "train/a/photo.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)
    with pytest.raises(UserError, match=r"train/a/photo.HEIC \(HEIC needs pillow-heif: pip install .*\[heif\]'\)"):
        open_folder(str(root)).load("train")
    source = open_folder(str(root), max_unreadable=1)
    assert len(source.load("train")) == 20 and "HEIC needs pillow-heif" in source.notes["unreadable"][0]


def test_a_folder_of_other_files_alone_says_what_it_holds_and_what_is_read(make):
    root, _ = make()
    for label in "ab":
        (root / label).mkdir()
        (root / label / "1.ppm").write_bytes(b"P6 1 1 255 abc")
    with pytest.raises(
        UserError, match=r"no picture in it, but 2 \.ppm, no picture by content; expected \.jpg, .*\.heif"
    ):
        open_folder(str(root))


def test_folders_beside_train_are_noted(make):
    root, _ = make(*grid("a", "b", prefix="train/"), "extra/a/1.png")
    assert open_folder(str(root)).notes["ignored_folders"] == ["Folders beside train that are no splits: extra."]


def test_names_that_are_not_utf8_or_printable(make, write_picture):
    root, _ = make(*grid("a"))
    strange = [os.path.join(os.fsencode(root), b"caf\xe9\n", b"%d\xff.png" % i) for i in range(10)]
    for i, path in enumerate(strange):
        write_picture(os.fsdecode(path), i)
    source = open_folder(str(root))
    assert source.class_names == ("a", r"caf\udce9\n")
    split = source.load("train")
    assert 2 <= len(split) <= 18 and all(name.isprintable() for name in split.names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "expected training pictures of at least 2 classes, found no picture"),
        (["a/1.txt"], "found the one class 'a'"),
        (["2.png", "1.png", "3.odd"], r"its 3 pictures stand right in it, such as 1\.png; expected one sub-folder"),
        (grid("a"), "found the one class 'a'"),
        ([*grid("a", "b", prefix="train/"), "test/zebra/1.png"], "the class 'zebra' of test picture 'test/zebra/1"),
        ([*grid("a", "b", prefix="train/"), "val/yak/1.png"], r"the class 'yak' of validation picture"),
        (grid("a", "b", prefix="test/"), "found test but no folder train"),
        ([*grid("a", "b", prefix="train/"), "val/a/1.png", "valid/a/1.png"], "train, val, valid name a split twice"),
    ],
)
def test_errors_are_one_line(make, names, message):
    root, _ = make(*names)
    with pytest.raises(UserError, match=message) as error:
        open_folder(str(root))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["absent", "afile"])
def test_no_such_folder(tmp_path, path):
    (tmp_path / "afile").touch()
    with pytest.raises(UserError, match=rf"folder\(path={path}\): expected a folder"):
        open_folder(path)


def test_unreadable_pictures_are_skipped_up_to_a_number(make):
    root, pixels = make(*grid("a", "b", prefix="train/"), *grid("a", prefix="test/"))
    (root / "train/a/3.png").write_bytes((root / "train/a/3.png").read_bytes()[:-40])
    (root / "train/b/5.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"--max_unreadable=0, but 1 of the files cannot be read: train/b/5.png \(an e"):
        open_folder(str(root)).load("train")
    with pytest.raises(UserError, match=r"--max_unreadable=1, but 2 .*, train/a/3.png \(damaged or cut short\)"):
        open_folder(str(root), max_unreadable=1).load("train")
    source = open_folder(str(root), max_unreadable=2)
    for _ in range(2):  # The same files do not count twice.
        split = source.load("train")
        assert len(split) == 18 and not {"train/a/3.png", "train/b/5.png"} & set(split.names)
        np.testing.assert_array_equal(split.inputs, [pixels[name] for name in split.names])
        np.testing.assert_array_equal(split.labels, [int(name.startswith("train/b")) for name in split.names])
    assert len(source.notes["unreadable"]) == 2
    (root / "test/a/0.png").write_bytes(b"")
    with pytest.raises(UserError, match="but 3 of"):
        source.load("test")


def test_the_error_names_three_files(make):
    root, _ = make(*grid("a", "b", prefix="train/"), "test/a/1.png")
    for i in range(5):
        (root / f"train/a/{i}.png").write_bytes(b"?")
    with pytest.raises(UserError, match=r"5 of the .*train/a/0.png \(.*train/a/2.png \([^)]*\) and 2 more") as error:
        open_folder(str(root)).load("train")
    assert "train/a/3" not in str(error.value)


def test_no_readable_picture_at_all(make):
    root, _ = make(*grid("a", "b", prefix="train/"), "test/a/1.png")
    (root / "test/a/1.png").write_bytes(b"?")
    with pytest.raises(UserError, match="No picture of the test split can be read"):
        open_folder(str(root), max_unreadable=9).load("test")


def test_pictures_of_16_bits_are_noted_and_dark_ones_named(make):
    root, _ = make(*grid("a", "b", count=4, prefix="train/"), "test/a/1.png")
    for i, top in enumerate((65535, 65535, 4095)):
        values = np.full((6, 6), top, np.uint16)
        Image.fromarray(values).save(root / f"train/a/{i}.{'png' if i else 'tif'}")
    source = open_folder(str(root))
    assert source.load("train").inputs.max() == 255
    assert source.notes["stored"] == ["train: 3 pictures of 16 bits a channel: their range is scaled to 8."]
    assert source.load("test").inputs.shape == (1, 6, 6, 3) and len(source.notes["stored"]) == 1
    dark = source.again()
    assert "stored" not in dark.notes
    dark.load("train", np.array([3]))
    assert dark.notes["stored"] == [
        "train: 1 picture of 16 bits a channel: their range is scaled to 8. They are dark, 16 of 255 at most: if they "
        "hold fewer bits, scale them to the whole range."
    ]


def test_real_folder(shared_data):
    source = open_folder(str(shared_data / "usps"))
    assert source.class_names == tuple("0123456789")
    assert [len(source.labels(split)) for split in source.splits] == [7291, 2007]
    few = source.load("test", np.arange(0, 2007, 100), size=32)
    assert few.inputs.shape == (21, 16, 16, 3) and few.inputs.std() > 50
