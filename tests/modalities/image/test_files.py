import io

import numpy as np
import pytest
from PIL import Image

from tf_transfer.data import decoding, disk_arrays
from tf_transfer.data.examples import Stored
from tf_transfer.errors import UserError
from tf_transfer.modalities import base

IMAGES = base.find("image")


def paths_of(write_picture, folder, sizes):
    paths = [str(folder / f"{i}.png") for i in range(len(sizes))]
    return paths, [write_picture(path, i, size) for i, (path, size) in enumerate(zip(paths, sizes, strict=True))]


def test_headers_tell_sizes_and_reasons(tmp_path, write_picture):
    paths, _ = paths_of(write_picture, tmp_path, [(4, 9), (7, 5)])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:20])
    bad = [str(tmp_path / name) for name in ("empty.png", "text.png", "cut.png", "absent.png")]
    sizes, reasons, remarks = decoding.measure_files([*paths, *bad], IMAGES)
    np.testing.assert_array_equal(sizes, [(4, 9), (7, 5), *[(0, 0)] * 4])
    assert sorted(reasons) == [2, 3, 4, 5] and remarks == {} and reasons[2] == "an empty file"
    assert reasons[3] == "no JPEG, PNG, GIF, BMP or WebP picture" and reasons[5] == "No such file or directory"


@pytest.mark.parametrize("shape", [(10_001, 10_000), (40_000, 40_000)])
def test_a_header_that_claims_too_many_pixels_is_refused(shape):
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "BMP")
    content = bytearray(file.getvalue())
    content[18:26] = np.array(shape, "<i4").tobytes()
    assert decoding.measure_files([io.BytesIO(bytes(content))], IMAGES)[1] == {0: "more than 100 million pixels"}


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(6, 8), (6, 8)], 8, ((6, 8), True)),
        ([(6, 8), (6, 8)], None, ((6, 8), True)),
        ([(6, 8), (6, 8)], 7, ((7, 7), False)),
        ([(6, 8), (6, 7)], 8, ((8, 8), False)),
        ([(6, 8), (8, 6)], 8, ((8, 8), False)),
    ],
)
def test_pictures_keep_the_size_they_share(sizes, size, expected):
    shape, native = expected
    assert IMAGES.stored(np.array(sizes), size) == ((*shape, 3), native, np.uint8)


def test_different_sizes_need_a_size():
    with pytest.raises(UserError, match="differ in size"):
        IMAGES.stored(np.array([(6, 8), (6, 7)]), None)


def test_decoding_in_native_size_gives_the_pixels(tmp_path, write_picture):
    paths, expected = paths_of(write_picture, tmp_path, [(5, 7)] * 40)
    images, good = decoding.decode_files(paths, Stored((5, 7, 3), native=True), IMAGES)
    np.testing.assert_array_equal(images, expected)
    assert good.all() and images.dtype == np.uint8


def test_decoding_resizes_as_the_model_does(tmp_path, write_picture):
    from tf_transfer.modalities.image import preprocessing

    paths, originals = paths_of(write_picture, tmp_path, [(5, 7), (12, 12), (8, 8), (30, 4)])
    images, _ = decoding.decode_files(paths, Stored((8, 8, 3), native=False), IMAGES)
    for image, original in zip(images, originals, strict=True):
        np.testing.assert_array_equal(image, preprocessing.resize(original, 8))


def test_files_that_fail_are_marked_and_the_others_are_right(tmp_path, write_picture):
    paths, expected = paths_of(write_picture, tmp_path, [(6, 6)] * 5 + [(6, 5)])
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[:-30])
    images, good = decoding.decode_files(paths, Stored((6, 6, 3), native=True), IMAGES)
    assert good.tolist() == [True, False, True, True, True, False]
    kept = decoding.compact(images, good)
    np.testing.assert_array_equal(kept, [expected[i] for i in (0, 2, 3, 4)])
    assert np.shares_memory(kept, images)


def test_large_arrays_live_in_a_temporary_file(tmp_path, write_picture, monkeypatch):
    monkeypatch.setattr(disk_arrays, "MEMORY_LIMIT", 100)
    monkeypatch.setattr(disk_arrays.tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    paths, expected = paths_of(write_picture, tmp_path, [(6, 6)] * 4)
    images, _ = decoding.decode_files(paths, Stored((6, 6, 3), native=True), IMAGES)
    assert isinstance(images, np.memmap)
    np.testing.assert_array_equal(images, expected)
    assert not list((tmp_path / "scratch").iterdir())
    with pytest.raises(UserError, match=r"10000000 examples of 10000x10000x3 need 3000000.0 GB.*set TMPDIR"):
        disk_arrays.temporary((10_000_000, 10_000, 10_000, 3))


@pytest.mark.parametrize(
    ("name", "expected"), [("Größe", "Größe"), ("a\nb\x1b", r"a\nb\x1b"), ("caf\udce9", r"caf\udce9")]
)
def test_printable(name, expected):
    assert decoding.printable(name) == expected
    decoding.printable(name).encode()
