import functools
import subprocess
import sys

import numpy as np
import pytest

from tf_transfer.data import sources
from tf_transfer.data.sources import SOURCES
from tf_transfer.errors import UserError
from tf_transfer.modalities import base

open_source = functools.partial(sources.open_source, modality=base.find("image"))


@pytest.fixture
def pictures(tmp_path, write_picture):
    """Ten pictures of two classes in a folder with brackets in its name, and a manifest of them."""
    folder = tmp_path / "my pictures (2)"
    names = [f"{label}/{i}.png" for label in "ab" for i in range(5)]
    for i, name in enumerate(names):
        write_picture(str(folder / name), i)
    (folder / "list (1).csv").write_text("path,label\n" + "".join(f"{name},{name[0]}\n" for name in names))
    return folder


def specs(folder):
    """One spec a registered source; the contract below walks them."""
    return {
        "csv": f"csv(path={folder}/list (1).csv)",
        "digits": "digits",
        "folder": f"folder(path={folder}, test_fraction=0.4)",
        "rendered_digits": "rendered_digits(n=40, seed=3)",
        "tfds": "tfds(name=mnist)",
    }


def test_names_are_known_without_tensorflow():
    code = (
        "import sys; from tf_transfer.data.sources import open_source\n"
        "from tf_transfer.errors import UserError; from tf_transfer.modalities import base\n"
        "for spec in ('foldr(x=1)', '/absent', 'folder(path=x)', 'absent.csv', 'digits(x=1)', 'rendered_digits(1)'):\n"
        "    try: open_source(spec, base.find('image'))\n"
        "    except UserError: pass\n"
        "    else: sys.exit(spec)\n"
        "sys.exit(', '.join({'tensorflow', 'tensorflow_datasets', 'keras'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SOURCES.names())
def test_contract(name, pictures, request):
    data_dir = None
    if name == "tfds":
        data_dir = str(request.getfixturevalue("shared_data") / "tfds")
    source = open_source(specs(pictures)[name], data_dir=data_dir)
    assert source.splits[0] == "train" and "test" in source.splits
    assert len(set(source.class_names)) == len(source.class_names) >= 2
    for split in source.splits:
        labels = source.labels(split)
        assert labels.dtype == np.int32 and labels.ndim == 1
        assert set(labels) <= set(range(len(source.class_names)))
        chosen = np.array([3, 0, 1]) % len(labels)
        part = source.load(split, chosen, size=32)
        assert part.inputs.dtype == np.uint8 and part.inputs.shape[0] == 3 and part.inputs.shape[3] == 3
        assert max(part.inputs.shape[1:3]) <= 32
        assert part.labels.dtype == np.int32 and len(part.names) == 3
        np.testing.assert_array_equal(part.labels, labels[chosen])
        again = source.load(split, chosen, size=32)
        np.testing.assert_array_equal(again.inputs, part.inputs)
        assert again.names == part.names
    for notes in source.notes.values():
        assert all(isinstance(note, str) and "\n" not in note for note in notes)


def test_a_path_needs_no_spec(pictures):
    assert open_source(str(pictures)).class_names == ("a", "b")
    assert open_source(f"{pictures}/list (1).csv").class_names == ("a", "b")
    assert open_source(pictures.name).class_names == ("a", "b")


def test_a_registered_name_wins_over_a_folder(tmp_path):
    (tmp_path / "digits").mkdir()
    assert len(open_source("digits").class_names) == 10


def test_options_reach_the_source_and_the_spec_goes_first(pictures, shared_data, tmp_path):
    (pictures / "a" / "0.png").write_bytes(b"?")
    source = open_source(str(pictures), max_unreadable=1)
    assert sum(len(source.load(split)) for split in source.splits) == 9
    source = open_source(f"folder(path={pictures}, max_unreadable=0)", max_unreadable=5)
    with pytest.raises(UserError, match="--max_unreadable=0"):
        [source.load(split) for split in source.splits]
    assert len(open_source("mnist", data_dir=str(shared_data / "tfds")).class_names) == 10
    source = open_source(f"tfds(name=mnist, data_dir={shared_data}/tfds)", data_dir=str(tmp_path))
    assert len(source.labels("test")) == 10_000


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("foldr(path=x)", "Unknown data set 'foldr'. Did you mean 'folder'"),
        ("folder", "missing a required argument: 'path'. It takes: path, test_fraction"),
        ("folder(path=x, depth=2)", "unexpected argument 'depth'. It takes: path, test_fraction"),
        ("/absent/folder", "--dataset=/absent/folder: there is no such folder"),
        ("~/absent folder", "there is no such folder"),
        ("absent/", "there is no such folder"),
        (__file__, "test_sources.py is a file; expected a folder"),
        ("absent.csv", "the manifest cannot be read"),
        ("", "Expected name"),
        ("digits(", "Expected name"),
        ("cifar11", "Did you mean cifar10.* Known: csv, digits, folder, rendered_digits, tfds, a folder"),
    ],
)
def test_errors_are_one_line(spec, message):
    with pytest.raises(UserError, match=message) as error:
        open_source(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["-1", "abc", "2.5", "70", "True"])
def test_near_copies_of_a_spec_are_checked_as_the_option_is(pictures, value):
    with pytest.raises(UserError, match=r"near_copies: expected a whole number from 0 to 3, got '?" + value):
        open_source(f"folder(path={pictures}, near_copies={value})")


@pytest.mark.parametrize("argument", ["carve=1", "progress=3", "modality=text"])
def test_what_the_run_fills_is_no_argument_of_a_spec(pictures, argument):
    with pytest.raises(UserError, match=rf"^The data set 'folder': unexpected argument '{argument.partition('=')[0]}'"):
        open_source(f"folder(path={pictures}, {argument})")
