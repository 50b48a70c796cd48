"""The store of features: what it keeps under which facts, what goes when it is full, who may write."""

import fcntl
import json
from pathlib import Path

import numpy as np
import pytest

from tf_transfer.data import disk_arrays
from tf_transfer.errors import UserError
from tf_transfer.features import store
from tf_transfer.features.store import FeatureStore

ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)


def by_threes(start, made=None):
    for first in range(start, 10, 3):
        yield ROWS[first : first + 3]


def never(start):
    raise AssertionError("computed although it is kept")


@pytest.fixture
def kept(tmp_path):
    return FeatureStore(tmp_path / "store", 10_000)


def test_what_is_kept_is_not_computed_again(kept):
    array, here = kept.get({"a": 1, "b": [2]}, (10, 4), by_threes)
    np.testing.assert_array_equal(array, ROWS)
    assert here == 0
    again, here = kept.get({"b": [2], "a": 1}, (10, 4), never)
    np.testing.assert_array_equal(again, ROWS)
    assert here == 10 and isinstance(again, np.memmap) and not again.flags.writeable
    (facts,) = kept.folder.rglob("facts.json")
    told = json.loads(facts.read_text())
    assert (told["a"], told["b"]) == (1, [2])
    assert not list(kept.folder.rglob("*.partial"))


def test_other_facts_are_another_array(kept):
    kept.get({"weights": "a"}, (10, 4), by_threes)
    with pytest.raises(AssertionError, match="computed"):
        kept.get({"weights": "b"}, (10, 4), never)


def test_a_damaged_array_is_computed_again(kept):
    kept.get({}, (10, 4), by_threes)
    (path,) = kept.folder.rglob(store.FEATURES)
    (facts,) = kept.folder.rglob(store.FACTS)
    good = path.read_bytes(), facts.read_bytes()
    for content, told in ((good[0][:50], good[1]), (bytes(160), good[1]), (good[0], b"{"), (good[0], b"[]")):
        path.write_bytes(content)
        facts.write_bytes(told)
        array, here = kept.get({}, (10, 4), by_threes)
        np.testing.assert_array_equal(array, ROWS)
        assert here == 0
        assert kept.get({}, (10, 4), never)[1] == 10


def test_the_oldest_go_when_it_is_full(tmp_path):
    small = FeatureStore(tmp_path, 1000)
    arrays_kept = [small.get({"n": n}, (10, 4), by_threes)[0] for n in range(3)]
    small.get({"n": 0}, (10, 4), never)  # Used again: now the youngest.
    size = sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file())
    FeatureStore(tmp_path, size + 10).get({"n": 3}, (10, 4), by_threes)
    assert small.get({"n": 0}, (10, 4), never)[1] == 10
    with pytest.raises(AssertionError, match="computed"):
        small.get({"n": 1}, (10, 4), never)
    # What went can still be read by who had it.
    np.testing.assert_array_equal(arrays_kept[1], ROWS)


def test_nothing_but_its_own_arrays_goes(tmp_path):
    foreign = {"data/0.png": "", f"{'0' * 32}/mine.txt": "", f"{'g' * 32}/features.f32": "", "features.f32": ""}
    for name in foreign:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(1000))
    FeatureStore(tmp_path, 300).get({"n": 0}, (10, 4), by_threes)
    FeatureStore(tmp_path, 300).get({"n": 1}, (10, 4), by_threes)
    assert all((tmp_path / name).stat().st_size == 1000 for name in foreign)
    assert len(list(tmp_path.rglob("facts.json"))) == 1


def test_an_array_that_is_being_written_does_not_go(tmp_path):
    place = tmp_path / ("a" * 32)
    place.mkdir()
    with (place / store.PARTIAL).open("wb") as other:
        other.write(bytes(1000))
        fcntl.flock(other, fcntl.LOCK_EX)
        FeatureStore(tmp_path, 400).get({}, (10, 4), by_threes)
        assert place.exists()
    FeatureStore(tmp_path, 400).get({"n": 1}, (10, 4), by_threes)
    assert not place.exists()


@pytest.mark.parametrize(("folder", "limit"), [(None, 10_000), ("store", 100)])
def test_without_a_folder_or_above_the_limit_nothing_is_kept(tmp_path, folder, limit):
    kept = FeatureStore(folder and tmp_path / folder, limit)
    for _ in range(2):
        array, here = kept.get({}, (10, 4), by_threes)
        np.testing.assert_array_equal(array, ROWS)
        assert here == 0
    assert not list(tmp_path.rglob("*"))


def test_large_arrays_that_are_not_kept_lie_in_a_temporary_file(monkeypatch):
    monkeypatch.setattr(disk_arrays, "MEMORY_LIMIT", 100)
    array, _ = FeatureStore(None, 0).get({}, (10, 4), by_threes)
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, ROWS)


def test_two_at_once_do_not_write_into_one_another(kept):
    kept.get({}, (10, 4), by_threes)
    (path,) = kept.folder.rglob(store.FEATURES)
    path.rename(path.with_name(store.PARTIAL))
    with path.with_name(store.PARTIAL).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        array, here = kept.get({}, (10, 4), by_threes)
    np.testing.assert_array_equal(array, ROWS)
    assert here == 0 and not path.exists()


def test_a_folder_that_cannot_be_used_is_told_or_done_without(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"--feature_store='.*file/store' cannot be used: Not a directory"):
        FeatureStore(tmp_path / "file" / "store", 10_000).get({}, (10, 4), by_threes)
    told = []
    array, here = FeatureStore(tmp_path / "file" / "store", 10_000, told.append).get({}, (10, 4), by_threes)
    np.testing.assert_array_equal(array, ROWS)
    assert here == 0 and "cannot be used: Not a directory; the features are not kept." in told[0]
    FeatureStore(tmp_path / "small", 100, told.append).get({}, (10, 4), by_threes)
    assert "GB of features are not kept: --feature_store_gb=1e-07" in told[1]


def test_what_another_user_began_in_a_shared_store_is_done_without(tmp_path, monkeypatch):
    opened = Path.open

    def refused(path, mode="r", *args, **kwargs):
        if path.name == store.PARTIAL and "a" in mode:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *args, **kwargs)

    shared = store.FeatureStore(tmp_path, 1 << 20)
    monkeypatch.setattr(Path, "open", refused)
    for _ in range(2):
        made, here = shared.get({"a": 1}, (3, 2), lambda start: iter([np.ones((3, 2), np.float32)]))
        assert here == 0 and made.sum() == 6
    monkeypatch.undo()
    assert shared.get({"a": 1}, (3, 2), lambda start: iter([np.ones((3, 2), np.float32)]))[1] == 0
    assert shared.get({"a": 1}, (3, 2), lambda start: iter([]))[1] == 3
