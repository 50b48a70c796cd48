"""The part of an output that is kept while it grows."""

import pytest

from tf_transfer.errors import UserError
from tf_transfer.serving import Prediction
from tf_transfer.serving.files.journal import Journal

MADE = [
    Prediction('a,"b".png', "x\ny", 0.75, {"x\ny": 0.75, "ü": 0.25}),
    Prediction("caf\udce9.png", "ü", 0.625, {"ü": 0.625, "x\ny": 0.375}),
    Prediction("c.png", "", 0.0, {}, "damaged"),
]


def test_two_commands_do_not_write_one_output(tmp_path):
    with Journal(tmp_path / "o.csv", {}, False, "pictures") as first:
        with pytest.raises(UserError, match=r"--predictions='[^']*o.csv' is being written by another process"):
            Journal(tmp_path / "o.csv", {}, False, "pictures")
        first.append(MADE, [(1, 2), None, (3, 4)])
        assert list(first) == [Prediction(p.file, p.label, p.probability, {}, p.error) for p in MADE]
        assert list(first.states()) == [(MADE[0].file, (1, 2)), (MADE[1].file, None), ("c.png", (3, 4))]
    with Journal(tmp_path / "o.csv", {}, False, "pictures") as second:
        assert second.count == 3
        second.drop({0, 2})
        assert second.count == 1 and [p.file for p in second] == [MADE[1].file]
        second.append(MADE[:1], [(5, 6)])
        assert [p.file for p in second] == [MADE[1].file, MADE[0].file]
        second.close(finished=True)
    assert not list(tmp_path.iterdir())
