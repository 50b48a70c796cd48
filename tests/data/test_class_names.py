"""Names that are no two classes are refused, with what makes them differ."""

import unicodedata

import pytest

from tf_transfer.data import class_names
from tf_transfer.errors import UserError

CAFE = unicodedata.normalize("NFC", "caf\N{LATIN SMALL LETTER E WITH ACUTE}")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["Daisy", "daisy", "rose"], "'Daisy' and 'daisy', which differ only in case (U+0044 against U+0064)"),
        (["daisy", "daisy "], "'daisy' and 'daisy ', which differ only in spaces (nothing against U+0020)"),
        (["oak tree", "oak  tree"], "differ only in spaces (U+0020 against nothing)"),
        ([CAFE, unicodedata.normalize("NFD", CAFE)], "their Unicode normal form (U+0065 U+0301 against U+00E9)"),
    ],
)
def test_one_class_spelt_twice(names, told):
    with pytest.raises(UserError) as error:
        class_names.check(names, "folder(path=x)")
    assert told in str(error.value) and "Give both one name" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "names",
    [
        ["A", "a", "B", "b"],
        ["daisy", "daisies"],
        ["1", "01"],
        ["a b", "ab"],
        [CAFE, "cafe"],
        ["Masse", "Ma\N{LATIN SMALL LETTER SHARP S}e"],
    ],
)
def test_other_names_are_classes(names):
    class_names.check(names, "x")


@pytest.mark.parametrize(
    ("labels", "several"),
    [
        (["cat", "dog", "cat|dog"], {"cat|dog": ["cat", "dog"]}),
        (["cat", "dog", "cat; dog"], {"cat; dog": ["cat", "dog"]}),
        (["a|b", "b|c", "a|c", "c"], {"b|c": ["b", "c"], "a|c": ["a", "c"]}),
        (["a|b", "b|c", "a|c"], {}),
        (["Paris, France", "Lyon, France", "Paris, Texas"], {}),
        (["tv|radio", "phone"], {}),
        (["Paris, Texas", "Paris, France", "Paris"], {}),
        (["a|", "a"], {}),
    ],
)
def test_labels_that_name_several_classes(labels, several):
    assert class_names.several(labels) == several
