"""Pictures that were saved again stay on one side; others are told apart, also where many are compared."""

import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tf_transfer.data import likeness
from tf_transfer.data.folder import open_folder
from tf_transfer.modalities import base
from tf_transfer.modalities.image.files import difference_hash

IMAGE = base.find("image")


@pytest.mark.parametrize("most", range(likeness.MOST + 1))
def test_sets_are_those_of_all_pairs(most):
    random = np.random.default_rng(most)
    words = random.integers(0, 2**64, 120, np.uint64)
    # Neighbours of the first fifty, up to five bits away; among them chains.
    flips = np.array(
        [np.bitwise_or.reduce(np.uint64(1) << random.integers(0, 64, n, np.uint64)) for n in range(1, 6)] * 10
    )
    words[50:100] = words[:50] ^ flips
    hashes = [*(int(word).to_bytes(8, "big") for word in words), None, None]
    near = np.bitwise_count(words[:, None] ^ words) <= most
    # Connected: powers of the relation, to its closure.
    for _ in range(7):
        near = near @ near
    found = likeness.sets(hashes, most)
    np.testing.assert_array_equal(found[:120, None] == found[:120], near)
    assert len(set(found[120:]) | set(found[:120])) == len(set(found[:120])) + 2


def test_many_hashes_that_are_alike_take_little_time_and_memory():
    random = np.random.default_rng(0)
    # A cube of 4,096 words, and 5,000 times the same word far from it.
    cube = [int(n).to_bytes(8, "big") for n in random.permutation(1 << 12)]
    tracemalloc.start()
    begun = time.perf_counter()
    found = likeness.sets([*[b"\xff" * 8] * 5000, None, *cube], 3)
    seconds, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(found[:5000])) == len(set(found[5001:])) == 1 and len(set(found)) == 3
    assert seconds < 20 and peak < 400e6


def photograph(seed, size=160):
    """Smooth random fields, as photographs are at a coarse scale."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def test_a_picture_saved_again_or_resized_is_alike_and_others_are_not(tmp_path):
    found = {}
    for seed in range(12):
        picture = photograph(seed)
        picture.save(tmp_path / "a.png")
        picture.save(tmp_path / "b.jpg", quality=60)
        picture.resize((80, 80)).save(tmp_path / "c.webp")
        picture.save(tmp_path / "d.tif")
        found[seed] = [int.from_bytes(difference_hash(str(path)), "big") for path in sorted(tmp_path.iterdir())]
        assert max((one ^ found[seed][0]).bit_count() for one in found[seed]) <= likeness.MOST
    firsts = [hashes[0] for hashes in found.values()]
    assert min((a ^ b).bit_count() for i, a in enumerate(firsts) for b in firsts[:i]) > 2 * likeness.MOST


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_of_16_bits_is_like_its_copy_of_8(tmp_path, ending):
    grey = np.asarray(photograph(3).convert("L"))
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"16.{ending}")
    assert difference_hash(str(tmp_path / f"16.{ending}")) == difference_hash(str(tmp_path / "8.png")) is not None


def test_plain_and_unreadable_pictures_are_like_nothing(tmp_path):
    Image.new("RGB", (50, 50), "red").save(tmp_path / "red.png")
    Image.fromarray(np.tile(np.arange(100, dtype=np.uint8) // 10, (50, 1))).save(tmp_path / "faint.png")
    (tmp_path / "text.jpg").write_text("no picture")
    photograph(0).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-300])
    assert [difference_hash(str(path)) for path in (*tmp_path.iterdir(), tmp_path / "absent.png")] == [None] * 5


def test_near_copies_stay_on_one_side_and_are_counted(tmp_path):
    for seed in range(30):
        folder = tmp_path / "data" / "ab"[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        photograph(seed).save(folder / f"{seed}.png")
        photograph(seed).resize((120, 120)).save(folder / f"{seed} again.jpg", quality=80)
    source = open_folder(str(tmp_path / "data"), modality=IMAGE, near_copies=3)
    sides = [set(source.keys(split).alike) for split in ("train", "test")]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 30
    (note,) = source.notes["near copies"]
    assert note.startswith("30 files look like another and stay on its side, such as ")
    assert note.endswith("So many are hardly copies: it is made for photographs.")
    # Groups that hold copies of each other are one.
    grouped = open_folder(str(tmp_path / "data"), modality=IMAGE, near_copies=3, group_by=r"[ab]/\d+.*")
    assert len({*grouped.keys("train").groups, *grouped.keys("test").groups}) == 30
    assert open_folder(str(tmp_path / "data"), modality=IMAGE).keys("train").alike is None
