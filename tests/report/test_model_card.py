"""The model card as Markdown: names stay in their place, and are as they are."""

import pytest

from tf_transfer.report import model_card


@pytest.mark.parametrize(
    ("name", "shown"),
    [("R&B <x>", "`R&B <x>`"), ("a`b", "`a'b`"), ("two\nlines", "`two lines`"), ("| cell", "`| cell`")],
)
def test_a_name_between_backticks(name, shown):
    assert model_card.as_code(name) == shown
