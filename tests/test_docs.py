"""The pages of measurements are what their commands write from their records."""

import ast
import fnmatch
import importlib
import json
import re

import pytest
import tools

from benchmarks import choices, house, performance, reliability, results_page, service
from tf_transfer import evaluation

PAGES = {
    "results": results_page.render,
    "performance": performance.render,
    "reliability": reliability.render,
    "serving": service.render,
    "choices": choices.render,
}
# The name of a phase: as a string, or as a constant of the catalogue.
PHASE = r'"(head|full|scratch|source)"|catalogue(\.| import .*)\b(HEAD|FULL|SCRATCH)\b'


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_records_say(name):
    docs = tools.ROOT / "docs"
    assert (docs / f"{name}.md").read_text() == PAGES[name](json.loads((docs / f"{name}.json").read_text()))


def test_the_table_of_the_readme_is_what_its_records_say():
    records = json.loads((tools.ROOT / "docs/results.json").read_text())
    text = (tools.ROOT / "README.md").read_text()
    assert text.count(results_page.BEGIN) == text.count(results_page.END) == 1
    assert results_page.with_headline(text, records) == text


def test_the_table_of_the_readme_compares_ours_with_the_guide():
    """Against the records themselves: every mean is one of three runs, every range their ends."""
    model = {"validation": 0.5, "test": {"value": 0.9, "n": 1000}}
    runs = [
        {"seconds": seconds, "models": {"full": model | {"test": {"value": value, "n": 1000}}}}
        | {"device": {"cores": 2, "precision": "float32"}, "versions": {"tensorflow": "1", "keras": "2"}}
        for seconds, value in ((10, 0.7), (20, 0.8), (60, 0.9))
    ]
    phases = [{"epochs": 5, "validation_accuracy": 0.1}, {"epochs": 3, "validation_accuracy": 0.25}]
    guides = [{"phases": phases, "test_accuracy": 0.6, "wall_seconds": 40}]
    lines = results_page.headline({"cifar10": {"runs": runs, "guides": guides, "date": "today"}}).splitlines()
    assert lines[2].endswith("| 0.500 | 0.800 (0.700 to 0.900) | 30 (10 to 60) |")
    assert lines[3] == "| the Keras guide's recipe, 8 epochs | 0.250 | 0.600 | 40 |"


def test_every_metric_is_defined():
    """What a reader meets on the page, or imports, is told in docs/metrics.md or is a tool of the others."""
    tools_of_others = {
        "METRIC", "TopLoss", "Verdict", "bootstrap_interval", "calibrated_ece", "calibration_interval",
        "confusion_matrix",
        "examples_to_decide", "fit_power_law", "half_samples", "labels_needed", "log_softmax", "pairwise",
        "precision_recall_f1", "rank_intervals", "reliability_bins", "right", "score_interval", "softmax", "top_losses",
        "wilson_interval", "accuracy", "accuracy_interval", "macro_f1", "top_k_accuracy",
    }  # fmt: skip
    text = (tools.ROOT / "docs/metrics.md").read_text()
    assert [name for name in evaluation.__all__ if name not in tools_of_others and f"`{name}`" not in text] == []


# Why they name a phase. No other file of the package may, but for the catalogue: a new phase needs no change in it.
NAMING = {
    "assess/*.py": "the assessment compares head, full and scratch on the same labels: its arms, by definition",
    "evaluation/verdict.py": "its rules are about them: to fine-tune fully means that full beats head",
    "report/assessment_blocks.py": "names of those arms",
    "report/assessment_plots.py": "their colours and marks",
    "report/plots.py": "colours",
    "training/method.py": "the parameter group of the head, not the phase",
    "config.py": "an example in a docstring",
    "api.py": "an example in a docstring",
}


def test_no_other_file_names_a_phase():
    package = tools.ROOT / "tf_transfer"
    named = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if re.search(PHASE, path.read_text())
    } - {"phases/catalogue.py"}
    assert sorted(n for n in named if not any(fnmatch.fnmatch(n, pattern) for pattern in NAMING)) == []
    assert [pattern for pattern in NAMING if not fnmatch.filter(named, pattern)] == []


MODULES = house.modules(tools.ROOT)


def test_an_import_that_is_told_can_be_made():
    """In the docstrings of the package and on its pages."""
    told = r"^ *from (tf_transfer[\w.]*) import (\w+)"
    texts = [path.read_text() for path in (*tools.ROOT.glob("*.md"), *tools.ROOT.glob("docs/*.md"))]
    texts += [ast.get_docstring(ast.parse(path.read_text())) or "" for path in MODULES.values()]
    found = {match for text in texts for match in re.findall(told, text, re.M)}
    assert len(found) > 3
    missing = [(m, n) for m, n in found if f"{m}.{n}" not in MODULES and (m not in MODULES or n not in vars_of(m))]
    assert missing == []


def vars_of(module):
    """What an import of a module offers."""
    return dir(importlib.import_module(module))


@pytest.mark.parametrize(("preset", "section"), [("cifar10_mobilenet", "cifar10"), ("own_folder", "flowers")])
def test_a_preset_expects_what_was_measured(preset, section):
    text = (tools.ROOT / f"flags/{preset}.flags").read_text()
    expected = re.search(r"head (0\.\d\d), full (0\.\d\d)", text)
    runs = json.loads((tools.ROOT / "docs/results.json").read_text())[section]["runs"]
    for phase, figure in zip(("head", "full"), expected.groups(), strict=True):
        measured = [run["models"][phase]["test"]["value"] for run in runs]
        assert float(figure) == pytest.approx(sum(measured) / len(measured), abs=0.005)


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", *(f"docs/{name}.md" for name in (*PAGES, "metrics"))])
def test_a_page_names_files_that_are_there(page):
    text = (tools.ROOT / page).read_text()
    files = set(re.findall(r"(?:tests|benchmarks|tf_transfer|flags|docs)/[\w/.]*\w\.(?:py|md|flags|png|json)", text))
    assert sorted(f for f in files if not (tools.ROOT / f).exists()) == []


def test_contributing_names_files_that_are_there():
    text = (tools.ROOT / "CONTRIBUTING.md").read_text()
    files = set(re.findall(r"`([\w/]+(?:\.py|\.md|/))`", text))
    folders = ("tf_transfer", "tests", "benchmarks", "flags", "docs")
    there = [f"/{path.relative_to(tools.ROOT)}" for folder in folders for path in (tools.ROOT / folder).rglob("*")]
    there += [f"/{path.name}" for path in tools.ROOT.iterdir()]
    assert len(files) > 30
    assert sorted(f for f in files if not any(path.endswith(f"/{f.rstrip('/')}") for path in there)) == []
