"""What may import what: the layers of the package, read from its sources."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tf_transfer"

# From the top down; a module imports from lower layers, and from its own layer as long as nothing goes round.
LAYERS = (
    {"cli"},
    {"api"},
    {"phases"},
    {"assess"},
    {"session"},
    {"methods"},
    {"training", "features", "export", "serving"},
    {"models"},
    {"data", "modalities", "evaluation", "report"},
    {"run", "machine"},
    {"config", "help", "errors", "registry", "console"},
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


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


def part(name):
    """`tf_transfer.data.splits` belongs to `data`."""
    return name.split(".")[1]


def inner(name):
    """The parts of the package that a module imports."""
    return {part(i) for i in IMPORTS[name] if i.startswith("tf_transfer.")}


PARTS = [name for name in MODULES if name != "tf_transfer"]


def test_every_module_has_a_layer():
    assert {part(name) for name in PARTS} == set(LEVEL)


@pytest.mark.parametrize("name", PARTS)
def test_imports_point_downward(name):
    upward = {other for other in inner(name) if LEVEL[other] < LEVEL[part(name)]}
    assert not upward, f"{name} imports from above: {', '.join(sorted(upward))}"


def test_nothing_goes_round():
    graph = {name: {i for i in found if i in MODULES and i != "tf_transfer"} for name, found in IMPORTS.items()}
    # A cycle has no order: this raises.
    assert set(graphlib.TopologicalSorter(graph).static_order()) >= set(graph)


def outer(name):
    """The other packages that a module imports."""
    return {i.split(".")[0] for i in IMPORTS[name]} - {"tf_transfer"}


def test_only_the_command_line_sees_flags():
    assert [name for name in MODULES if "absl" in outer(name)] == ["tf_transfer.cli"]


def test_measures_and_reports_need_no_framework():
    for name in PARTS:
        if part(name) in ("evaluation", "report", "config", "errors", "registry", "console"):
            assert not outer(name) & {"tensorflow", "keras", "tensorflow_datasets"}, name


@pytest.mark.parametrize("name", [name for name in PARTS if re.fullmatch(r"tf_transfer\.serving(\.[a-z]+)?", name)])
def test_serving_needs_tensorflow_alone(name):
    assert inner(name) <= {"errors", "serving"}
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
