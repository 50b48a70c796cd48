"""Checkpoints: what comes back is what was saved; what does not verify is passed over; a full disk costs nothing."""

import errno
import json

import numpy as np
import pytest

from tf_transfer.errors import UserError
from tf_transfer.run import atomic, checkpoints
from tf_transfer.run.checkpoints import Checkpoints, Every, parse_every
from tf_transfer.run.directory import RunDir


@pytest.fixture
def told():
    return []


@pytest.fixture
def kept(tmp_path, told):
    return Checkpoints(RunDir(tmp_path / "run"), "full", Every(steps=5), told.append)


def arrays(number):
    random = np.random.default_rng(number)
    return {"state/0": random.normal(size=(3, 4)).astype(np.float32), "state/1": np.array([1, 2], np.uint32)}


def save(kept, step, best=None):
    weights = (best, [np.full(2, best, np.float32), np.zeros((2, 3))]) if best else None
    kept.save(step, arrays(step), weights, {"loss": 0.1 + 0.2, "step": step})


def names(kept):
    return sorted(p.name for p in kept.folder.iterdir())


def test_what_was_saved_comes_back_to_the_bit(kept):
    assert kept.load() is None and kept.last is None
    save(kept, 7, best=2)
    found = Checkpoints(kept.run, "full").load()
    assert found.step == 7 and found.facts == {"loss": 0.1 + 0.2, "step": 7}
    for name, value in arrays(7).items():
        assert found.arrays[name].dtype == value.dtype and found.arrays[name].tobytes() == value.tobytes()
    assert [b.tolist() for b in found.best] == [[2.0, 2.0], [[0.0] * 3] * 2]
    assert Checkpoints(kept.run, "head").load() is None


def test_the_newest_two_stay_and_the_best_weights_they_name(kept):
    save(kept, 5, best=1)
    best = kept.folder / "best-0001/arrays.npz"
    written = best.stat().st_mtime_ns
    save(kept, 10, best=1)
    assert best.stat().st_mtime_ns == written, "the best weights are written when they change"
    save(kept, 15, best=3)
    assert names(kept) == ["best-0001", "best-0003", "step-000000010", "step-000000015"]
    save(kept, 20, best=3)
    assert names(kept) == ["best-0003", "step-000000015", "step-000000020"]
    kept.clear()
    assert not kept.folder.exists()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": lambda f: flip(f / "arrays.npz"),
    "cut short": lambda f: (f / "arrays.npz").write_bytes((f / "arrays.npz").read_bytes()[:-100]),
    "no arrays": lambda f: (f / "arrays.npz").unlink(),
    "empty arrays": lambda f: (f / "arrays.npz").write_bytes(b""),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "half a manifest": lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text()[:20]),
    "a flipped bit of the facts": lambda f: flip(f / "facts.json"),
    "another manifest": lambda f: (f / "manifest.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("part", ["step-000000010", "best-0002"])
def test_a_damaged_one_is_named_and_passed_over(kept, told, damage, part):
    save(kept, 5, best=1)
    save(kept, 10, best=2)
    DAMAGE[damage](kept.folder / part)
    found = kept.load()
    assert found.step == 5 and found.best[0].tolist() == [1.0, 1.0]
    assert len(told) == 1 and part in told[0] and "is damaged and passed over" in told[0]
    DAMAGE[damage](kept.folder / "step-000000005")
    assert kept.load() is None
    assert "begins again" in told[-1]


def test_best_weights_of_an_abandoned_training_are_written_anew(kept):
    """Of one that was killed between its best weights and its checkpoint, or whose newest checkpoint was damaged."""
    save(kept, 5, best=1)
    save(kept, 10, best=2)
    flip(kept.folder / "step-000000010/arrays.npz")
    again = Checkpoints(kept.run, "full", Every(steps=5), lambda text: None)
    assert again.load().step == 5
    again.save(10, arrays(10), (2, [np.full(2, 7.0, np.float32)]), {})
    assert Checkpoints(kept.run, "full").load().best[0].tolist() == [7.0, 7.0]


def test_a_damaged_one_does_not_count_among_those_kept(kept):
    for step in (5, 10):
        save(kept, step)
    flip(kept.folder / "step-000000010/arrays.npz")
    kept.load()
    save(kept, 15)
    assert names(kept) == ["step-000000005", "step-000000015"]


def test_nothing_is_unpickled(kept):
    save(kept, 5)
    folder = kept.folder / "step-000000005"
    np.savez(folder / "arrays.npz", evil=np.array([print], dtype=object))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["arrays.npz"] = atomic.digest(folder / "arrays.npz")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="allow_pickle"):
        kept.load()


def test_a_full_disk_leaves_the_one_before(kept, monkeypatch):
    save(kept, 5, best=1)
    before = names(kept)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        save(kept, 10, best=2)
    monkeypatch.undo()
    assert names(kept) == before and kept.load().step == 5


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("500", Every(steps=500)),
        ("30s", Every(seconds=30)),
        ("1.5m", Every(seconds=90)),
        ("1h", Every(seconds=3600)),
        ("off", Every()),
    ],
)
def test_how_often(text, every):
    assert parse_every(text) == every


@pytest.mark.parametrize("text", ["", "0", "0m", "1.5", "-3", "5 min", "often", "1e3", "nan"])
def test_how_often_is_told_where_it_is_wrong(text):
    with pytest.raises(
        UserError, match=r"--checkpoint_every='.*': expected steps such as 500, a time such as 5m, or off"
    ):
        parse_every(text)


def test_when_one_is_due(kept, monkeypatch):
    assert [step for step in range(1, 13) if kept.due(step)] == [5, 6, 7, 8, 9, 10, 11, 12]
    save(kept, 6)
    assert [step for step in range(7, 13) if kept.due(step)] == [10, 11, 12]
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    timed = Checkpoints(kept.run, "full", Every(seconds=60))
    now[0] = 59.0
    assert not timed.due(1000)
    now[0] = 60.0
    assert timed.due(1)
    assert not Checkpoints(kept.run, "full", Every()).due(10**9)
