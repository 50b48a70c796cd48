"""What follows from the rows of the catalogue."""

import pytest

from tf_transfer.phases import catalogue


@pytest.mark.parametrize(
    ("phase", "from_source", "expected"),
    [
        ("head", False, "head,full"),
        ("full", False, "head,full"),
        ("full", True, "head,full"),
        ("scratch", False, "scratch"),
        ("source", False, "source"),
        ("source", True, "source,head,full"),
    ],
)
def test_where_data_has_changed_all_that_was_trained_on_it_in_one_line_trains_again(phase, from_source, expected):
    assert ",".join(catalogue.again(phase, from_source)) == expected
