"""What a change of the files means for a model that has seen some of them."""

import pytest

from tf_transfer.session.growth import change

THEN = {"train": {"a": "a.png", "b": "b.png"}, "validation": {"v": "v.png"}, "test": {"t": "t.png"}}


def now(**other):
    return {split: dict(names) for split, names in THEN.items()} | other


def test_what_came_and_went_is_counted_by_split():
    found = change(THEN, now(train={"a": "a.png", "c": "c.png", "d": "d.png"}, test={"t": "t.png", "u": "u.png"}))
    assert found.leaks == () and found.told() == "train 2 came and 1 went, test 1 came"
    assert change(THEN, now()).told() == "the same files under other names or labels"


@pytest.mark.parametrize(
    ("moved", "leaks"),
    [
        # The model was trained on it.
        (now(train={"a": "a.png"}, test={"t": "t.png", "b": "b.png"}), ("b.png (train, now test)",)),
        (now(train={"a": "a.png"}, validation={"v": "v.png", "b": "x.png"}), ("x.png (train, now validation)",)),
        # It was chosen by it.
        (now(validation={}, test={"t": "t.png", "v": "v.png"}), ("v.png (validation, now test)",)),
        # What tested or chose it may train what goes on from it.
        (now(train={"a": "a.png", "b": "b.png", "v": "v.png"}, validation={}), ()),
        (now(train={"a": "a.png", "b": "b.png", "t": "t.png"}, test={}), ()),
        # A copy is no move: it is counted with the copies.
        (now(test={"t": "t.png", "b": "copy.png"}), ()),
        # What was gone in between.
        (now(train={"a": "a.png"}), ()),
    ],
)
def test_a_file_that_moved_towards_the_test_is_a_leak(moved, leaks):
    found = change(THEN, moved)
    assert found.leaks == leaks
    if leaks:
        assert found.told() == f"1 of the files it has seen are held out now, such as {leaks[0]}"
