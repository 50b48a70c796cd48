"""What may import what: the layers of the package, read from its sources."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tf_transfer"

# From the top down. A module belongs to the longest name here that it begins with, and imports from lower layers and
# from what bears its own name; never from above, never sideways.
LAYERS = (
    {"cli"},
    {"api", "help"},
    {"phases", "serving.files", "serving.http"},
    {"assess"},
    {"session"},
    {"methods", "compression"},
    {"training", "features", "export"},
    {"models"},
    {"modalities"},
    {"data", "evaluation", "report", "serving"},
    {"run", "machine"},
    {"config", "console"},
    {"phases.catalogue", "registry"},
    {"errors"},
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
LARGEST = 8

# Imports up or sideways that stand for a reason: (module that imports, what it imports).
ALLOWED = {
    ("data.file_source", "modalities.image.files"): "to go: a source is given its modality",
    ("data.tfds_source", "modalities.image.files"): "to go: a source is given its modality",
    ("data.tfds_source", "modalities.image.pixels"): "to go: a source is given its modality",
    ("data.sources", "modalities.image.digits"): "to go: a source of pictures registers itself",
    ("data.sources", "modalities.image.rendered_digits"): "to go: a source of pictures registers itself",
}


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(name):
    """The modules that a module imports, wherever in it: `from package import module` counts as the module."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} line {node.lineno}: a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return found


IMPORTS = {name: imports(name) for name in MODULES}


def short(name):
    return name.removeprefix("tf_transfer.")


def part(name):
    """The layers' entry of a module: `data.splits` belongs to `data`, `serving.http.app` to `serving.http`."""
    pieces = short(name).split(".")
    entries = (".".join(pieces[:length]) for length in range(len(pieces), 0, -1))
    return next((entry for entry in entries if entry in LEVEL), None)


def inner(name):
    """The modules of the package that a module imports; of the package itself, only the version is taken."""
    return {i for i in IMPORTS[name] if i.startswith("tf_transfer.")}


PARTS = [name for name in MODULES if name != "tf_transfer"]


def against_the_layers(name):
    """What a module imports from above or from beside."""
    own = part(name)
    return {short(i) for i in inner(name) if part(i) != own and LEVEL[part(i)] <= LEVEL[own]}


def test_every_module_has_a_layer():
    assert [name for name in PARTS if part(name) is None] == []


def test_no_layer_is_large_and_no_name_stands_in_two():
    assert max(len(parts) for parts in LAYERS) <= LARGEST
    assert len(LEVEL) == sum(len(parts) for parts in LAYERS)


@pytest.mark.parametrize("name", PARTS)
def test_imports_point_downward(name):
    found = {other for other in against_the_layers(name) if (short(name), other) not in ALLOWED}
    assert not found, f"{name} imports from above or from beside: {', '.join(sorted(found))}"


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


@pytest.mark.parametrize("name", [name for name in PARTS if part(name) in FREE and short(name) != "run.tensorboard"])
def test_metrics_reports_and_records_need_no_framework(name):
    assert not outer(name) & {"tensorflow", "keras", "tensorflow_datasets"}


@pytest.mark.parametrize("name", [name for name in PARTS if part(name) == "serving"])
def test_serving_needs_tensorflow_alone(name):
    assert {part(i) for i in inner(name)} <= {"errors", "serving"}
    assert outer(name) - set(sys.stdlib_module_names) <= {"numpy", "tensorflow"}


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
