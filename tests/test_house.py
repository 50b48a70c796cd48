"""The figures of a tree so small that they are counted by hand."""

import pytest

from benchmarks import house

FILES = {
    "tf_transfer/__init__.py": "",
    "tf_transfer/top.py": "from tf_transfer.low import a\nfrom tf_transfer.low.a import name\nimport os\n",
    "tf_transfer/low/__init__.py": "",
    "tf_transfer/low/a.py": "import tf_transfer.top\nfrom tf_transfer.low import b\nPHASE = 'head'\n",
    "tf_transfer/low/b.py": 'def late():\n    from tf_transfer import side\n\n    return side, "full"\n',
    "tf_transfer/low/deep/c.py": "import tf_transfer.low.a\n",
    "tf_transfer/side.py": "# An Image.\n",
    "tf_transfer/modalities/image/d.py": "# A picture, a pixel.\n",
    "tests/test_imports.py": 'import os\n\nLAYERS = ({"top"}, {"low", "side", "modalities"}, {"low.deep"})\n',
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_up_and_sideways(tree):
    assert house.against(tree, house.layers_of(tree)) == {
        ("low.a", "top"): "up",
        ("low.b", "side"): "sideways",
        ("low.deep.c", "low.a"): "up",
    }


def test_the_longest_entry_counts():
    layers = ({"low"}, {"low.deep"})
    assert house.entry("tf_transfer.low.deep.c", layers) == "low.deep"
    assert house.entry("tf_transfer.low.deeper", layers) == "low"
    assert house.entry("tf_transfer.lower", layers) is None


def test_a_relative_import_is_refused(tree):
    path = tree / "tf_transfer/low/b.py"
    path.write_text("from . import a\n")
    with pytest.raises(ValueError, match="relative import"):
        house.imports(path, house.modules(tree))


def test_sizes_are_those_of_each_folder_alone(tree):
    assert house.sizes(tree) == {
        "tf_transfer": (3, 4),
        "tf_transfer/low": (3, 7),
        "tf_transfer/low/deep": (1, 1),
        "tf_transfer/modalities/image": (1, 1),
    }


def test_who_names_a_phase_or_a_picture(tree):
    assert house.naming(tree, house.PHASE) == ["low/b.py"]
    assert house.naming(tree, house.PICTURE, house.IMAGES) == ["side.py"]
    assert house.naming(tree, house.PICTURE) == ["modalities/image/d.py", "side.py"]


def test_the_table_has_a_column_a_checkout(tree, capsys):
    house.main([str(tree), str(tree)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"| | {tree} | {tree} |" and "| imports up | 2 | 2 |" in lines
    assert "| entries of the largest layer | 3 | 3 |" in lines and "| modules in tf_transfer/low | 3 | 3 |" in lines
    assert list(house.table([{"a": 1}, {"b": 2000}], ["x", "y"]))[2:] == ["| a | 1 | - |", "| b | - | 2,000 |"]
