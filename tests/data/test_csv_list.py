import functools
import os

import numpy as np
import pytest

from tf_transfer.data import csv_list
from tf_transfer.errors import UserError
from tf_transfer.modalities import base

open_csv = functools.partial(csv_list.open_csv, modality=base.find("image"))


@pytest.fixture
def make(tmp_path, write_picture):
    """Writes a manifest beside ten pictures `images/0.png` to `images/9.png`; returns its path and the pixels."""
    folder = tmp_path / "data"
    pixels = [write_picture(str(folder / f"images/{i}.png"), i) for i in range(10)]

    def write(text, encoding="utf-8"):
        (folder / "list.csv").write_text(text, encoding, newline="")
        return str(folder / "list.csv"), pixels

    return write


def rows(labels="aaaaabbbbb", split=None):
    tail = f",{split}" if split else ""
    return "".join(f"images/{i}.png,{label}{tail}\n" for i, label in enumerate(labels))


def test_splits_of_the_manifest(make):
    text = "label,split,path,note\ncat,train,images/2.png,x\nant,train,images/0.png,\ncat,VAL,images/4.png,\n"
    path, pixels = make(text + 'ant,test,"images/3.png",\n\ncat,test,images/1.png,')
    source = open_csv(path)
    assert source.class_names == ("ant", "cat") and source.splits == ("train", "validation", "test")
    train = source.load("train")
    assert train.names == ["images/0.png", "images/2.png"] and train.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(train.inputs, [pixels[0], pixels[2]])
    assert source.labels("test").tolist() == [1, 0]  # In the order of the names.
    assert source.load("validation").names == ["images/4.png"]


def test_without_a_split_column_a_test_split_is_carved(make):
    path, _ = make("path,label\n" + rows())
    source = open_csv(path)
    assert source.splits == ("train", "test")
    counts = np.bincount(source.labels("test"))
    assert counts.min() >= 1 and counts.max() <= 4
    chosen = source.load("test").names
    lines = rows().splitlines()
    path, _ = make("\n".join(["path,label", *lines[::-1]]))
    assert open_csv(path).load("test").names == chosen  # The order of the lines does not matter.


def test_several_labels_in_a_row_are_refused_with_the_line(make):
    path, _ = make("path,label\n" + rows("aaaabbbbb") + "images/9.png,a|b\n")
    with pytest.raises(UserError, match=r"line 11: expected one class, found 'a\|b', which names 2 \(a, b\); several"):
        open_csv(path)
    # A run that began before keeps its classes.
    assert open_csv(path, carve=1).class_names == ("a", "a|b", "b")
    path, _ = make("path,label\n" + rows("AABBaabb"))
    assert open_csv(path).class_names == ("A", "B", "a", "b")
    path, _ = make("path,label\n" + rows("aaaa") + "images/8.png,Rose\nimages/9.png,rose\n")
    with pytest.raises(UserError, match=r"csv\(.*found 'Rose' and 'rose', which differ only in case"):
        open_csv(path)


def test_byte_order_mark_spaces_windows_line_ends_and_unicode(make):
    path, _ = make("\ufeffPath, Label\r\n" + rows().replace("b\n", " Größe\r\n"))
    assert open_csv(path).class_names == ("Größe", "a")


def test_undecodable_path_is_found(make, tmp_path, write_picture):
    name = os.fsdecode(b"caf\xe9.png")
    pixels = write_picture(str(tmp_path / "data" / name), 99)
    path, _ = make("path,label,split\n" + rows(split="train"))
    with open(path, "ab") as file:
        file.write(b"caf\xe9.png,a,test\n")
    test = open_csv(path).load("test")
    np.testing.assert_array_equal(test.inputs, [pixels])
    assert test.names == [r"caf\udce9.png"]


def test_root_and_absolute_paths_inside_it(make, tmp_path):
    path, pixels = make("path,label,split\n" + rows(split="train").replace("images/", ""))
    with open(path, "a") as file:
        file.write(f"{tmp_path}/data/images/3.png,a,test\n")
    source = open_csv(path, root=str(tmp_path / "data" / "images"))
    np.testing.assert_array_equal(source.load("test").inputs, [pixels[3]])
    assert len(source.load("train")) == 10


@pytest.mark.parametrize(
    "name", ["../outside.png", "images/../../outside.png", "{tmp}/outside.png", "a\0b", "C:\\outside.png"]
)
def test_a_path_may_not_leave_the_root(make, tmp_path, write_picture, name):
    write_picture(str(tmp_path / "outside.png"))
    path, _ = make("path,label\n" + rows() + name.format(tmp=tmp_path) + ",a\n")
    with pytest.raises(UserError, match=r"list.csv\), line 12: the path .* leaves "):
        open_csv(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: expected the header path,label\[,split\], found an empty line"),
        ("file,label\n" + rows(), "line 1: .*found file, label"),
        ("path:label\n" + rows(), "line 1: .*found path:label"),
        ("filename,class\n" + rows(), r"Other .*: csv\(path=..., path_column=filename, label_column=class\)"),
        ("PK\3\4", "expected a text file, found an archive or a spreadsheet; save it as CSV"),
        ("path;label\n" + rows().replace(",", ";") + "images/0;1.png;a\n", "found 3; quote a value with a semicolon"),
        ("path,label,split\n" + rows(split="trian"), "line 2: expected split train, validation or test, got 'trian'"),
        ("path,label,split\n" + rows(split="train") + "images/0.png,a,\n", "line 12: expected split .*got ''"),
        ("path,label\n" + rows() + ",a\n", "line 12: the path is empty"),
        ("path,label\n" + rows() + "images/0.png,\n", "line 12: the label is empty"),
        ("path,label\n" + rows() + "images/0.png\n", "line 12: expected 2 values, found 1"),
        ("path,label\n" + rows() + "images/0,1.png,a\n", "line 12: expected 2 values, found 3; quote"),
        ("path,label\n", "found no picture"),
        ("path,label\n" + rows("aaaaaaaaaa"), "found the one class 'a'"),
        ("path,label,split\n" + rows(split="test"), "found no picture"),
        ("path,label,split\n" + rows(split="train") + "images/0.png,new,test\n", "the class 'new' of test picture"),
        ("path,label\n" + "x" * 200_000 + ",a\n", "not a comma-separated file: field larger"),
    ],
)
def test_errors_are_one_line(make, text, message):
    path, _ = make(text)
    with pytest.raises(UserError, match=message) as error:
        open_csv(path)
    assert "\n" not in str(error.value)


def test_no_such_manifest_or_root(make):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        open_csv("absent.csv")
    path, _ = make("path,label\n" + rows())
    with pytest.raises(UserError, match="root=nowhere is not a folder"):
        open_csv(path, root="nowhere")


def test_a_listed_file_that_is_absent_is_unreadable(make):
    path, _ = make("path,label,split\n" + rows(split="train") + "images/none.png,a,test\nimages/1.png,a,test\n")
    with pytest.raises(UserError, match=r"1 of the files .*images/none.png \(No such file or directory\)"):
        open_csv(path).load("test")
    source = open_csv(path, max_unreadable=1)
    assert source.load("test").names == ["images/1.png"]
    assert source.notes["unreadable"] == ["images/none.png (No such file or directory)"]


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_what_spreadsheets_and_other_systems_save(make, separator, encoding):
    text = ("path,label\n" + rows("aaaaabbbbb").replace(",b", ",Größe")).replace(",", separator)
    source = open_csv(make(text.replace("\n", "\r\n"), encoding)[0])
    assert source.class_names == ("Größe", "a") and "encoding" not in source.notes
    assert sum(len(source.labels(split)) for split in source.splits) == 10


def test_the_separator_a_spreadsheet_is_told(make):
    path, _ = make("sep=;\npath;label\n" + rows().replace(",", ";") + "images/0.png\n")
    with pytest.raises(UserError, match="line 13: expected 2 values, found 1; quote a value with a semicolon"):
        open_csv(path)


def test_cp1252_is_read_and_said(make):
    source = open_csv(make("path,label\n" + rows().replace(",b", ",Größe"), "cp1252")[0])
    assert source.class_names == ("Größe", "a")
    assert "5 labels are not UTF-8 and were read as cp1252, such as 'Größe'" in source.notes["encoding"][0]


def test_a_path_in_cp1252_finds_the_file_whose_name_is_utf8(make, tmp_path, write_picture):
    pixels = write_picture(str(tmp_path / "data" / "café.png"), 99)
    path, _ = make("path,label,split\n" + rows(split="train") + "café.png,a,test\n", "cp1252")
    test = open_csv(path).load("test")
    np.testing.assert_array_equal(test.inputs, [pixels])
    assert test.names == ["café.png"]


def test_an_encoding_may_be_given(make):
    path, _ = make("path,label\n" + rows().replace(",b", ",роза"), "cp1251")
    assert open_csv(path, encoding="cp1251").class_names == ("a", "роза")
    for wrong in ("klingon", "ascii", 5):
        with pytest.raises(UserError, match=f"the text cannot be decoded, encoding={wrong}: ") as error:
            open_csv(path, encoding=wrong)
        assert "\n" not in str(error.value)


def test_columns_of_other_names(make):
    text = "ID;Class;Fold\n" + rows(split="training").replace(",", ";") + "images/3.png;a;Testing\n;;\n"
    path, _ = make(text)
    source = open_csv(path, path_column="id", label_column="class", split_column="fold")
    assert source.class_names == ("a", "b") and source.load("test").names == ["images/3.png"]
    with pytest.raises(UserError, match=r"line 1: expected the header id,class,part, found ID, Class, Fold"):
        open_csv(path, path_column="id", label_column="class", split_column="part")


def test_empty_rows_and_cells_at_the_end(make):
    path, _ = make("path,label,\n" + rows().replace("\n", ",\n") + ",,\n , ,,,\nimages/0.png,b,,,\n,,\n\n")
    assert sum(len(open_csv(path).labels(split)) for split in ("train", "test")) == 11


@pytest.mark.parametrize(
    ("words", "splits"),
    [
        (("training", "dev", "Testing"), ("train", "validation", "test")),
        (("TRAIN", "holdout"), ("train", "test")),
        (("train", "eval", "test"), ("train", "validation", "test")),
    ],
)
def test_words_of_splits(make, words, splits):
    text = "path,label,split\n" + rows(split=words[0])
    path, _ = make(text + "".join(f"images/{i}.png,a,{word}\n" for i, word in enumerate(words[1:])))
    assert open_csv(path).splits == splits


def test_a_part_of_a_word_is_no_split(make):
    path, _ = make("path,label,split\n" + rows(split="train_2017"))
    with pytest.raises(UserError, match="line 2: expected split train, validation or test, got 'train_2017'"):
        open_csv(path)


def test_backslashes(make, tmp_path, write_picture):
    strange = write_picture(str(tmp_path / "data" / "a\\b.png"), 50)
    text = "path,label,split\n" + rows(split="train").replace("images/", "images\\") + "a\\b.png,a,test\n"
    source = open_csv(make(text)[0])
    assert source.load("train").names[0] == "images/0.png"
    np.testing.assert_array_equal(source.load("test").inputs, [strange])


@pytest.mark.parametrize("begin", ["C:\\Users\\me\\set\\", "D:/set/", "/content/drive/set/"])
def test_paths_of_another_machine(make, begin):
    path, _ = make("path,label,split\n" + rows(split="train").replace("images/", f"{begin}images/") + "\n")
    prefix = begin.replace("\\", "/").rstrip("/")
    with pytest.raises(UserError, match=f"line 2: .* leaves .*: give prefix={prefix}[.]") as error:
        open_csv(path)
    assert "\n" not in str(error.value)
    for given in (begin, prefix.lower()):
        source = open_csv(path, prefix=given)
        assert sum(len(source.labels(split)) for split in source.splits) == 10
        assert source.load("train").names[0].startswith("images/")


def test_a_list_of_links(make, tmp_path, write_picture):
    """As DVC and git-annex leave them: each file is a link to a store elsewhere."""
    pixels = write_picture(str(tmp_path / "store" / "ab12.png"), 77)
    path, _ = make("path,label,split\n" + rows(split="train") + "link.png,a,test\n")
    os.symlink(tmp_path / "store" / "ab12.png", tmp_path / "data" / "link.png")
    np.testing.assert_array_equal(open_csv(path).load("test").inputs, [pixels])


def test_a_root_that_is_a_link(make, tmp_path):
    make("path,label,split\n" + rows(split="train") + f"{tmp_path}/data/images/3.png,a,test\n")
    os.symlink(tmp_path / "data", tmp_path / "short")
    assert len(open_csv(f"{tmp_path}/short/list.csv").labels("test")) == 1
