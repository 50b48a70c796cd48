"""Bad files and hostile names, from the folder to the page: told in a line, nothing lost, nothing written elsewhere."""

import json
import os
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
import tools
from PIL import Image

from tf_transfer import serving
from tf_transfer.errors import UserError
from tf_transfer.modalities.image.limits import NO_PICTURE, TOO_LARGE
from tf_transfer.serving.inputs import DAMAGED

# Names that are markup, escapes of a terminal, paths, formulas, no UTF-8, or as long as a file system takes.
NAMES = [
    b"<script>alert(1)</script>".replace(b"/", b"|"),
    b"\x1b[31mred\x07\nline",
    b"..%2f..%2fetc",
    b"=cmd|calc",
    b"caf\xe9\xff",
    b"x" * 255,
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.\N{PILE OF POO}".encode(),
    b"{{7*7}} & 'q' \"d\"",
]


def bomb(path, side=100_000):
    """A PNG of some hundred bytes whose header claims ten thousand million pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    path.write_bytes(content + chunk(b"IEND", b""))


def spoil(folder, picture):
    """Puts bad files beside a good picture; returns their names."""
    content = picture.read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture at all")
    (folder / "page.jpg").write_text("<html><img src=x></html>")
    bomb(folder / "bomb.png")
    # The content decides, not the name: this one is good.
    (folder / "mislabelled.jpg").write_bytes(content)
    return ["cut.png", "empty.png", "text.jpg", "page.jpg", "bomb.png"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("hostile")
    random = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        folder = os.path.join(os.fsencode(base), b"data", name)
        os.makedirs(folder)
        for i in range(8):
            tools.shape_picture(random, number, 32).save(os.fsdecode(os.path.join(folder, b"%d.png" % i)))
    first = base / "data" / os.fsdecode(NAMES[0])
    return base, spoil(first, first / "0.png")


def listing(folder):
    found = [os.fsencode(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names]
    return sorted(found)


def test_bad_pictures_are_named_and_nothing_is_begun(made):
    base, _ = made
    done = tools.run_py(*_flags(), "--phase=head", cwd=base)
    tools.assert_refused(done, r"--max_unreadable=0, but \d of the files cannot be read: ")
    assert not (base / "run").exists()


@pytest.mark.large
def test_the_whole_story_with_bad_pictures_and_hostile_names(made):
    base, bad = made
    before = listing(base / "data")
    done = tools.run_py(
        *_flags(), f"--max_unreadable={len(bad)}", "--phase=all,predict", f"--images={base}/data", cwd=base, timeout=300
    )
    # What predict could not read makes the code 2, after everything else was done.
    assert done.returncode == 2 and done.stderr == "", done
    # Eight pictures lie in a folder whose name begins with a dot: it is hidden, for training too.
    assert re.search(rf"predict  57 predicted, {len(bad)} not read", done.stdout)
    assert all(c.isprintable() or c in "\n\r" for c in done.stdout), "an escape reached the terminal"
    assert listing(base / "data") == before and {p.name for p in base.iterdir()} == {"data", "run"}
    page = (base / "run/report.html").read_text()
    assert "alert(1)" in page and "<script>alert(1)" not in page and "{{7*7}}" in page
    rows = (base / "run/predictions.csv").read_text().splitlines()
    for reason, count in ((NO_PICTURE, 3), (DAMAGED, 1), (TOO_LARGE, 1)):
        assert sum(reason in row for row in rows) == count
    for line in (base / "run/records.jsonl").read_text().splitlines():
        json.loads(line)
    names = {p.name for p in (base / "run/samples").iterdir()}
    assert all(re.fullmatch(r"\d\d_\w*\.png", name) for name in names)


def _flags():
    options = {"backbone": "small_resnet", "weights": "random", "epochs": 1, "precision": "float32"}
    return tools.flags(dataset="data", run_dir="run", **options)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "variables"])
def test_what_is_no_saved_model(tmp_path_factory, tmp_path, damage):
    run = tools.tiny_run(tmp_path_factory)
    model = shutil.copytree(run / "saved_model/1", tmp_path / "model")
    graph, values = model / "saved_model.pb", next(model.glob("variables/*.data*"))
    if damage == "variables":
        values.write_bytes(values.read_bytes()[:100])
    else:
        content = {"empty": b"", "text": b"hello", "cut": graph.read_bytes()[:5000]}[damage]
        graph.write_bytes(content)
    with pytest.raises(UserError, match=r"--saved_model='.*model' cannot be loaded: "):
        serving.load(model)


def test_a_corrupt_weights_file(tmp_path_factory, tmp_path):
    kept = (tools.tiny_run(tmp_path_factory) / "full/backbone.weights.h5").read_bytes()
    (tmp_path / "w.weights.h5").write_bytes(kept[: len(kept) // 2])
    options = tools.flags(**tools.TINY | {"weights": "w.weights.h5", "run_dir": "run"})
    done = tools.run_py("--phase=head", *options, cwd=tmp_path)
    tools.assert_refused(done, "The weights in w.weights.h5 do not fit --backbone=small_resnet or are damaged")
    assert not (tmp_path / "run").exists()


def test_a_large_picture_is_not_decoded_by_the_export(tmp_path_factory, tmp_path):
    """A real JPEG of 400 million pixels."""
    Image.new("L", (20_000, 20_000)).save(tmp_path / "large.jpg")
    (found,) = serving.load(tools.tiny_run(tmp_path_factory)).predict_files([tmp_path / "large.jpg"])
    assert found.error == TOO_LARGE
