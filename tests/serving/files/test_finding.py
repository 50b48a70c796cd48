"""Which files are meant, and those that come into a folder that is being filled."""

import functools
import io
import re

import pytest
from PIL import Image

from tf_transfer.errors import UserError
from tf_transfer.modalities.words import Words, of_card
from tf_transfer.serving.files import finding

WORDS = of_card({})


def test_find_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.JPG", "a/b/2.png", "a/3.txt", "4.jpeg", "odd[1].bmp", "x,y/5.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = functools.partial(finding.find_files, words=WORDS)
    assert found("a") == ["a/1.JPG", "a/b/2.png"]
    assert found("a/3.txt") == ["a/3.txt"]
    assert found("**/*") == ["4.jpeg", "a/1.JPG", "a/b/2.png", "odd[1].bmp", "x,y/5.gif"]
    assert found("odd[1].bmp") == ["odd[1].bmp"]
    assert found("4.jpeg, a/b,odd*") == ["4.jpeg", "a/b/2.png", "odd[1].bmp"]
    # A comma in a name is no separator where the name is there.
    assert found("x,y") == ["x,y/5.gif"] and found("x,y/*") == ["x,y/5.gif"]
    for text, nothing in (("a/*.gif", "a/*.gif"), ("a/b/*.txt", "a/b/*.txt")):
        with pytest.raises(UserError, match=re.escape(f"--inputs={nothing!r}: no picture found")):
            found(text)
    for text, nothing in (("b", "b"), ("a,nix", "nix"), (",", ",")):
        with pytest.raises(UserError, match=re.escape(f"--inputs={nothing!r}: there is no such file or folder")):
            found(text)
    assert finding.passed_over("a", WORDS) == {".txt, empty": 1}
    assert finding.passed_over("4.jpeg", WORDS) == finding.passed_over("nix", WORDS) == {}


def test_content_counts_where_the_ending_says_nothing(tmp_path, picture_file):
    names = ("a.jfif", "b.heic", "no_ending", "c.txt", "d", "e.TIF")
    for name in names:
        (tmp_path / name).write_bytes(picture_file)
    (tmp_path / "BMW.txt").write_text("BMW and other cars, a text of more than 32 bytes")
    (tmp_path / "d").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 30)
    (tmp_path / "film.heic.mov").write_bytes(b"\0\0\0\x18ftypqt  " + b"\0" * 30)
    expected = sorted(str(tmp_path / name) for name in names)
    assert finding.find_files(str(tmp_path), WORDS) == finding.find_files(f"{tmp_path}/*", WORDS) == expected
    why = "no picture by content"
    assert finding.passed_over(str(tmp_path), WORDS) == {f".txt, {why}": 1, f".mov, {why}": 1}
    arrivals = finding.Arrivals(str(tmp_path), WORDS)
    arrivals.look()
    assert arrivals.look() == expected


def test_a_folder_is_listed_as_that_of_a_data_set(tmp_path, picture_file):
    """Hidden files and those of archivers are no pictures; links to folders are followed, once."""
    names = ("in/a.png", "in/._a.png", "in/.cache/b.png", "in/__MACOSX/._c.png", "elsewhere/d.png", "in/e/f.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture_file)
    (tmp_path / "in/linked").symlink_to("../elsewhere")
    (tmp_path / "in/e/loop").symlink_to("..")
    expected = [str(tmp_path / "in" / name) for name in ("a.png", "e/f.png", "linked/d.png")]
    assert finding.find_files(str(tmp_path / "in"), WORDS) == expected
    assert finding.passed_over(str(tmp_path / "in"), WORDS) == {"hidden": 1}
    arrivals = finding.Arrivals(str(tmp_path / "in"), WORDS)
    arrivals.look()
    assert arrivals.look() == expected


@pytest.fixture
def picture_file():
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("label,Path\nx,a/1.png\ny,/b.png\n", ["lists/a/1.png", "/b.png"]),
        ("\ufefffile;\n", "no picture found"),
        ("label;path\nx;a,1.png\n", ["lists/a,1.png"]),
        ("n\tfile\n1\tb.png\n", ["lists/b.png"]),
        ("odd;name.png\n", ["lists/odd;name.png"]),
        ('\ufefffile,n\n"a,b.png",1\n\n../c.png,2\n', ["lists/a,b.png", "lists/../c.png"]),
        ("a.png\n\nb.png\na.png\n", ["lists/a.png", "lists/b.png", "lists/a.png"]),
        ("a.png,1\nb.png,2\n", r"expected a column path or file, or one path a line; the first line has 'a.png, 1'"),
        ("n,path\n1,a.png\n2\n", r"no path in row 3"),
        ("path\n", "no picture found"),
        ("", "no picture found"),
    ],
)
def test_a_list_of_files(tmp_path, monkeypatch, content, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/l.csv").write_text(content, "utf-8")
    if isinstance(expected, list):
        assert finding.find_files("lists/l.csv", WORDS) == expected
    else:
        with pytest.raises(UserError, match=rf"^--inputs='lists/l.csv'(:|) {expected}"):
            finding.find_files("lists/l.csv", WORDS)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_a_list_of_another_encoding(tmp_path, encoding):
    (tmp_path / "l.csv").write_text("path;n\r\nGrün.png;1\r\n", encoding)
    assert finding.find_files(str(tmp_path / "l.csv"), WORDS) == [str(tmp_path / "Grün.png")]


def test_the_endings_are_those_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.TXT", "c.png"):
        (tmp_path / "in" / name).touch()
    texts = of_card({"modality": {"name": "text", "one": "text", "many": "texts", "endings": [".txt"]}})
    assert texts == Words("text", "texts", (".txt",))
    assert finding.find_files("in", texts) == ["in/a.txt", "in/b.TXT"]
    assert list(finding.passed_over("in", texts)) in ([".png, not by its ending"], [".png, empty"])
    with pytest.raises(UserError, match=r"no text found; expected a file, a folder, a glob of \.txt files, or"):
        finding.find_files("in/*.png", texts)
    # Cards of before, or of nobody knows what.
    unended = {"modality": {"one": "text", "many": "texts", "endings": None}}
    for card in ({}, {"modality": "x"}, {"model": {"image_size": 32}}, unended):
        assert of_card(card).many == "pictures" and ".jpeg" in of_card(card).endings


def test_arrivals_are_told_once_when_they_have_stopped_growing(tmp_path):
    (tmp_path / "old.png").write_bytes(b"1")
    (tmp_path / "known.png").write_bytes(b"1")
    known = str(tmp_path / "known.png")
    arrivals = finding.Arrivals(str(tmp_path), WORDS, {known: finding.state(known), str(tmp_path / "gone.png"): (1, 2)})
    assert arrivals.look() == [] and arrivals.waiting
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/new.jpg").write_bytes(b"1")
    (tmp_path / "note.txt").write_bytes(b"1")
    assert arrivals.look() == [str(tmp_path / "old.png")]
    (tmp_path / "deep/new.jpg").write_bytes(b"12")
    assert arrivals.look() == [] and arrivals.waiting
    assert arrivals.look() == [str(tmp_path / "deep/new.jpg")]
    assert arrivals.look() == [] and not arrivals.waiting
    assert arrivals.told == 4
    # What changes is told again, also of those that were known.
    (tmp_path / "known.png").write_bytes(b"12")
    assert arrivals.look() == [] and arrivals.waiting
    assert arrivals.look() == [known] and arrivals.told == 4
    with pytest.raises(UserError, match="--watch looks into a folder; there is none of this name"):
        finding.Arrivals(str(tmp_path / "old.png"), WORDS)


def test_a_watched_folder_that_cannot_be_listed_is_told_once(tmp_path, monkeypatch):
    notes, told = [], []
    (tmp_path / "a.png").write_bytes(b"1")
    arrivals = finding.Arrivals(str(tmp_path), WORDS, note=notes.append)
    arrivals.look()

    def refused(root, words):
        raise PermissionError(13, "Permission denied", f"{root}/closed")

    with monkeypatch.context() as patched:
        patched.setattr(finding.tree, "read", refused)
        for _ in range(5):
            arrivals.look()
            told.append(len(notes))
    assert told == [0, 0, 1, 1, 1]
    assert notes == [f"{tmp_path}/closed cannot be listed (Permission denied): until it can, no new files are seen."]
