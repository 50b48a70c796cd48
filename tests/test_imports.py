"""What may import what: the layers of the package, read from its sources."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import house

ROOT = Path(__file__).resolve().parents[1]

# From the top down. A module belongs to the longest name here that it begins with, and imports from lower layers and
# from what bears its own name; never from above, never sideways.
LAYERS = (
    {"cli"},
    {"api", "flag_files", "help"},
    {"phases", "serving.files", "serving.http"},
    {"assess"},
    {"session"},
    {"methods"},
    {"features", "export"},
    {"models"},
    {"training"},
    {"modalities"},
    {"data", "evaluation", "report", "serving"},
    {"run", "machine"},
    {"config", "console"},
    {"phases.catalogue", "registry", "text_file"},
    {"errors"},
)
LARGEST = 8

# Imports up or sideways that stand for a reason: (module that imports, what it imports).
ALLOWED = {}

MODULES = house.modules(ROOT)
IMPORTS = {name: house.imports(path, MODULES) for name, path in MODULES.items()}
PARTS = [name for name in MODULES if name != house.PACKAGE]
AGAINST = house.against(ROOT, LAYERS)


def part(name):
    return house.entry(name, LAYERS)


def inner(name):
    """The modules of the package that a module imports."""
    return {i for i in IMPORTS[name] if i.startswith("tf_transfer.")}


def test_every_module_has_a_layer():
    assert [name for name in PARTS if part(name) is None] == []


def test_every_layer_is_there():
    names = {house.short(name) for name in PARTS}
    assert [e for e in set().union(*LAYERS) if not any(n == e or n.startswith(f"{e}.") for n in names)] == []


def test_no_layer_is_large_and_no_name_stands_in_two():
    assert max(len(parts) for parts in LAYERS) <= LARGEST
    assert len(set().union(*LAYERS)) == sum(len(parts) for parts in LAYERS)


@pytest.mark.parametrize("name", PARTS)
def test_imports_point_downward(name):
    found = {other: how for (module, other), how in AGAINST.items() if module == house.short(name)}
    assert {other: how for other, how in found.items() if (house.short(name), other) not in ALLOWED} == {}


def test_no_exception_outlives_its_import():
    assert set(ALLOWED) - set(AGAINST) == set(), "no longer needed: remove these rows of ALLOWED"


def test_nothing_goes_round():
    graph = {name: {i for i in found if i in MODULES and i != "tf_transfer"} for name, found in IMPORTS.items()}
    # A cycle has no order: this raises.
    assert set(graphlib.TopologicalSorter(graph).static_order()) >= set(graph)


def outer(name):
    """The other packages that a module imports."""
    return {i.split(".")[0] for i in IMPORTS[name]} - {"tf_transfer"}


def test_only_the_command_line_sees_flags():
    assert [name for name in MODULES if "absl" in outer(name)] == ["tf_transfer.cli"]


# Who needs no framework. TensorBoard's event files are written by TensorFlow, late and where it is asked for.
FREE = ("evaluation", "report", "run", "config", "console", "help", "phases.catalogue", "registry", "errors")


@pytest.mark.parametrize(
    "name", [name for name in PARTS if part(name) in FREE and name != "tf_transfer.run.tensorboard"]
)
def test_metrics_reports_and_records_need_no_framework(name):
    assert not outer(name) & {"tensorflow", "keras", "tensorflow_datasets"}


@pytest.mark.parametrize("name", [name for name in PARTS if part(name) == "serving"])
def test_serving_needs_tensorflow_alone(name):
    assert {part(i) for i in inner(name)} <= {"errors", "serving"}
    # Pillow converts files that TensorFlow does not decode, where it is there.
    more = {"PIL", "pillow_heif"} if name == "tf_transfer.serving.conversion" else set()
    assert outer(name) - set(sys.stdlib_module_names) <= {"numpy", "tensorflow"} | more


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("module", ["tf_transfer", "tf_transfer.cli", "tf_transfer.api", "tf_transfer.evaluation"])
def test_nothing_heavy_is_imported_before_it_is_used(module):
    code = (
        f"import sys, {module}\n"
        "print(sorted({'tensorflow', 'keras', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules)))"
    )
    result = run(code)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_a_phase_starts_without_what_no_phase_of_its_kind_uses(tmp_path):
    """Keras imports two of them for helpers; together they took half the time to the first line of a command."""
    code = (
        "import atexit, runpy, sys\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'scipy.stats', 'matplotlib', 'jinja2'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))))\n"
        f"sys.argv = ['run.py', '--phase=full', '--dataset=digits', '--run_dir={tmp_path}/run']\n"
        f"runpy.run_path('{ROOT / 'run.py'}', run_name='__main__')\n"
    )
    result = run(code)
    assert "Run --phase=head" in result.stderr and result.stdout.strip() == "['keras', 'tensorflow']", result


def test_the_package_offers_its_names_late():
    code = (
        "import sys, tf_transfer\n"
        "assert callable(tf_transfer.fine_tune) and callable(tf_transfer.serving.load)\n"
        "assert callable(tf_transfer.evaluation.score) and tf_transfer.__version__\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "tf_transfer.fine_tuned\n"
    )
    result = run(code)
    assert "module 'tf_transfer' has no attribute 'fine_tuned'" in result.stderr
    assert "AssertionError" not in result.stderr


# Private names that tests may reach, each with its reason.
REACHED = {"_flatten_layers": "Keras's own: it has no public name for the layers of nested models"}
PRIVATE = re.compile(r"_(?!_)\w+")
# Begin with an underscore only so that they are no fields.
OF_NAMED_TUPLES = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}
# Functions that take the name of an attribute as text, which `pytest.MonkeyPatch` and `unittest.mock` have too.
BY_NAME = {"getattr", "setattr", "delattr", "hasattr", "patch", "object", "attrgetter"}


def named(call):
    """The names in the texts that a call is given, of the functions above: `a._b` names `a` and `_b`."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return [name for text in texts for name in text.split(".")] if function in BY_NAME else []


def private(text):
    """The private names that a test reaches; what it keeps on its own `self` is its own."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") not in ("self", "cls"):
            found.append(node.attr)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tf_transfer":
            found += [name for alias in node.names for name in (*node.module.split("."), alias.name)]
        elif isinstance(node, ast.Import):
            found += [n for a in node.names if a.name.startswith("tf_transfer.") for n in a.name.split(".")]
        elif isinstance(node, ast.Call):
            found += named(node)
    return sorted({name for name in found if PRIVATE.fullmatch(name)} - OF_NAMED_TUPLES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from tf_transfer.features import solver\nsolver._CHUNK = 7", ["_CHUNK"]),
        ("served.service._batcher._call()", ["_batcher", "_call"]),
        ("from tf_transfer.features.solver import _CHUNK as size", ["_CHUNK"]),
        ("from tf_transfer._inner import name", ["_inner"]),
        ("import tf_transfer._inner", ["_inner"]),
        ("monkeypatch.setattr(solver, '_CHUNK', 7)", ["_CHUNK"]),
        ("monkeypatch.setattr('tf_transfer.features.solver._CHUNK', 7)", ["_CHUNK"]),
        ("getattr(solver, '_CHUNK')", ["_CHUNK"]),
        ("mock.patch.object(solver, '_CHUNK')", ["_CHUNK"]),
        ("self._mine = layer.name.endswith('_bn') or solver.__doc__ or solver.Objective", []),
        ("from numpy import _core", []),
        ("losses._replace(batch=1.0)", []),
    ],
)
def test_a_private_name_is_seen(text, found):
    assert private(text) == found


def test_no_test_reaches_a_private_name():
    reached = {str(path.relative_to(ROOT)): private(path.read_text("utf-8")) for path in ROOT.glob("tests/**/*.py")}
    assert {path: rest for path, names in reached.items() if (rest := sorted(set(names) - set(REACHED)))} == {}
    assert set(REACHED) <= {name for names in reached.values() for name in names}, "no longer reached: remove the row"
