"""Numbers as people read them."""

import math

import pytest

from tf_transfer.report import formats


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{EN DASH}", "-").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (formats.percent, 0.8804, "88.0 %"),
        (formats.percent, 0, "0.0 %"),
        (formats.percent_range, {"low": 0.8733, "high": 0.8861}, "87.3-88.6 %"),
        (formats.decimal_range, {"low": 0.1, "high": 0.25}, "0.100-0.250"),
        (formats.points, 0.156, "+15.6"),
        (formats.points, -0.02, "-2.0"),
        (formats.count, 45_000, "45,000"),
        (formats.duration, 4.23, "4.2 s"),
        (formats.duration, 59.7, "1 min 00 s"),
        (formats.duration, 192, "3 min 12 s"),
        (formats.duration, 3599.8, "1 h 00 min"),
        (formats.duration, 7500, "2 h 05 min"),
        (formats.byte_size, 999, "999 B"),
        (formats.byte_size, 13_400_000, "13.4 MB"),
        (formats.byte_size, 2_500_000_000_000, "2500.0 GB"),
        (formats.p_value, 0.0319, "p = 0.032"),
        (formats.p_value, 1e-30, "p < 0.001"),
        (formats.setting, 0.1 + 0.2, "0.3"),
        (formats.setting, "sgd", "sgd"),
        (formats.setting, "", "-"),
        (formats.significant, 47.44861, "47.4"),
        (formats.significant, 0.00358314, "0.00358"),
        (formats.significant, 1.2e-5, "1.20e-05"),
        (formats.significant, 0.0, "0"),
        (formats.significant, 1234.5, "1234"),
        (formats.significants, {"value": 0.0014, "low": 0.0, "high": 0.00348}, "0.00140 (0 to 0.00348)"),
        (formats.setting, [1, "ü", None], '[1, "ü", null]'),
    ],
)
def test_value(function, value, expected):
    assert plain(function(value)) == expected


@pytest.mark.parametrize(
    "name", ["percent", "percent_range", "significant", "decimal", "decimal_range", "points", "count", "duration"]
)
def test_nothing_is_a_dash(name):
    function = getattr(formats, name)
    assert function(None) == formats.DASH
    if name.endswith("range"):
        assert function({"low": math.nan, "high": 1.0}) == formats.DASH
    else:
        assert function(math.nan) == function(math.inf) == function("text") == function(True) == formats.DASH


def test_a_long_name_is_shortened_in_the_middle():
    assert formats.shortened("white oak leaf, autumn", 16) == "white oa…autumn"
    assert formats.shortened("  white\noak ", 16) == "white oak"
    assert [len(formats.shortened("x" * 300, n)) for n in (2, 3, 40)] == [2, 3, 40]
    assert formats.shortened("", 16) == ""


def test_names_that_would_look_alike_are_shortened_less():
    alike = ["a class of many, number 1 of a kind", "a class of many, number 2 of a kind"]
    assert len(set(formats.told_apart(alike))) == 2
    assert formats.told_apart(["", "b"]) == ["(no name)", "b"]
    # Alike also in the longest form: what all begin and end with is left out.
    assert formats.told_apart([f"{'n' * 100}{i}{'m' * 100}" for i in range(3)]) == ["…0…", "…1…", "…2…"]
    # And where that does not help either, they are shortened all the same.
    alike = [f"{i}{'n' * 100}{j}{'m' * 100}{i}" for i in range(2) for j in range(2)]
    assert max(map(len, formats.told_apart(alike))) == 32


def test_a_text_is_broken_off_behind_an_entry_or_a_word():
    assert formats.clipped("a few words", 20) == "a few words"
    assert formats.clipped("two were found: first one.jpg; second one.jpg; third", 50) == (
        "two were found: first one.jpg; second one.jpg …"
    )
    assert formats.clipped("several words that go on", 17) == "several words …"
    assert formats.clipped("x" * 90, 20) == "x" * 10 + "…" + "x" * 9
