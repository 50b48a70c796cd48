"""Cases from public reports that no other test holds, and that docs/field-cases.md names only tests that are there."""

import ast
import functools
import io
import os
import re
import resource

import numpy as np
import pytest
import tools
from PIL import Image

from tf_transfer.data import csv_list, decoding, folder, sources
from tf_transfer.data.examples import Stored
from tf_transfer.modalities import base
from tf_transfer.run import lock
from tf_transfer.run.directory import RunDir

IMAGES = base.find("image")
PAGE = tools.ROOT / "docs/field-cases.md"


def rows():
    return [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]


def test_every_case_has_its_number_its_report_and_tests_that_are_there():
    found = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows()]
    assert [int(cells[0]) for cells in found] == list(range(1, len(found) + 1)) and len(found) >= 40
    for number, report, tried, happened, tests in found:
        assert re.fullmatch(r"\[.+\]\(https://github\.com/[\w./-]+/(issues|pull)/\d+\)|own", report), number
        assert tried and happened
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named or tests.startswith("none: "), number
        for path, name in named:
            tree = ast.parse((tools.ROOT / path).read_text())
            assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, f"{path}::{name}"


@pytest.mark.parametrize("place", ["README.md", "CONTRIBUTING.md"])
def test_the_page_is_linked(place):
    assert "docs/field-cases.md" in (tools.ROOT / place).read_text()


def grey(path, level=77, size=(6, 6), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path, **options)


def test_labels_and_names_that_look_like_numbers_stay_texts(tmp_path):
    labels = ["007", "7", "NA", "nan", "null", "1e3", "True", "2024-01-02"]
    lines = ["path,label"]
    for number, label in enumerate(labels):
        for i in range(2):
            name = f"000{number}{i}.png"
            grey(tmp_path / name, 10 * number + i)
            lines.append(f"{name},{label}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    source = csv_list.open_csv(str(tmp_path / "list.csv"), modality=IMAGES)
    assert source.class_names == tuple(sorted(labels))


def test_classes_that_are_numbers_stand_in_the_order_of_texts_and_keep_their_names(tmp_path):
    for level, count in ((1, 3), (2, 4), (10, 5)):
        for i in range(count):
            grey(tmp_path / f"data/train/{level}/{i}.png", 20 * level + i)
    grey(tmp_path / "data/test/10/0.png", 3)
    source = folder.open_folder(str(tmp_path / "data"), modality=IMAGES)
    assert source.class_names == ("1", "10", "2")
    assert np.bincount(source.labels("train")).tolist() == [3, 5, 4] and source.labels("test").tolist() == [1]


@pytest.mark.parametrize("name", ["my pictures", "[yolo](v8n)", "a, b", 'it\'s "here"', "100 %", "ein Größe=1", "none"])
def test_folders_of_any_name_are_opened_by_their_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for label in "ab":
        for i in range(3):
            grey(tmp_path / name / label / f"{i}.png", 40 * "ab".index(label) + i)
    for spec in (f"./{name}", str(tmp_path / name)):
        assert sources.open_source(spec, modality=IMAGES).class_names == ("a", "b")


def test_few_open_files_suffice(tmp_path):
    for i in range(300):
        grey(tmp_path / f"{i}.png", i % 256)
    paths = [str(tmp_path / f"{i}.png") for i in range(300)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, before[1]))
    try:
        sides, reasons, _ = decoding.measure_files(paths, IMAGES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert sides.shape == (300, 2) and not reasons


def test_a_run_directory_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    with lock.locked(tmp_path / "run"):
        run = RunDir(tmp_path / "run")
        run.write_json("x.json", {"a": 1})
        with run.write_folder("evaluate") as made:
            (made / "y").write_text("1")
    assert (tmp_path / "run").is_symlink()
    assert sorted(p.name for p in (tmp_path / "disk").iterdir()) == ["evaluate", "x.json"]


def test_pictures_of_odd_shapes_are_read_and_none_is_touched(tmp_path):
    sizes = {"dot": (1, 1), "row": (20_000, 1), "column": (1, 20_000), "profile": (9, 7)}
    for name, size in sizes.items():
        profile = {"icc_profile": b"a profile, whatever it says"} if name == "profile" else {}
        grey(tmp_path / f"{name}.png", size=size, **profile)
    paths = [str(tmp_path / f"{name}.png") for name in sizes]
    before = [(open_bytes(path), os.stat(path).st_mtime_ns) for path in paths]
    sides, reasons, _ = decoding.measure_files(paths, IMAGES)
    assert not reasons and sides.tolist() == [[h, w] for w, h in sizes.values()]
    decoded, good = decoding.decode_files(paths, Stored((8, 8, 3), native=False), IMAGES)
    # Sides are stretched, never cut; a colour profile changes no pixel.
    assert good.all() and (decoded == 77).all()
    assert [(open_bytes(path), os.stat(path).st_mtime_ns) for path in paths] == before


def open_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def test_a_jpeg_with_bytes_too_many_is_read_and_a_cut_one_is_named(tmp_path):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    content = stream.getvalue()
    (tmp_path / "more.jpg").write_bytes(content[:-2] + b"\0" * 245 + content[-2:])
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    paths = [str(tmp_path / name) for name in ("more.jpg", "cut.jpg")]
    decoded, good = decoding.decode_files(paths, Stored((64, 64, 3), native=True), IMAGES)
    assert good.tolist() == [True, False]
    # Decoders agree to a level or two.
    expected = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    np.testing.assert_allclose(decoded[0].astype(int), expected, atol=2)


read_csv = functools.partial(csv_list.open_csv, modality=IMAGES)


def test_a_long_list_is_read_in_time_that_grows_with_its_rows(tmp_path):
    """20,000 rows of one picture: quadratic code would take minutes."""
    for label in "ab":
        grey(tmp_path / f"{label}.png", 40 * "ab".index(label))
    text = "path,label,split\n" + "".join(f"{label}.png,{label},train\n" for label in "ab" for _ in range(10_000))
    (tmp_path / "list.csv").write_text(text + "a.png,a,test\n")
    source = read_csv(str(tmp_path / "list.csv"))
    assert len(source.labels("train")) == 20_000 and len(source.labels("test")) == 1
