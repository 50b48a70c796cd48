"""The evaluate phase: the controls beside the models, and which of these is exported."""

import json
import shutil

import numpy as np
import pytest
import tools

from tf_transfer import api
from tf_transfer.console import Console
from tf_transfer.phases import choice, compare
from tf_transfer.run.directory import RunDir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


def test_the_blind_guess_is_measured_beside_the_models(run):
    (found,) = RunDir(run).records("blind_guess")
    with np.load(run / "evaluate/predictions.npz") as kept:
        counts = np.bincount(kept["labels"])
    # Every class has three digits to train on: the control is the one that the test split has most often.
    assert (found["class"], found["split"]) == (str(counts.argmax()), "test")
    assert found["metrics"]["accuracy"]["value"] == counts.max() / 797
    assert found["metrics"]["balanced_accuracy"]["value"] == 0.1


@pytest.mark.parametrize("phase", ["head", "full"])
def test_a_phase_keeps_the_results_of_what_it_kept(run, phase):
    """A head that was solved, and a network that trained in steps."""
    each, done = RunDir(run).validated(phase), RunDir(run).done(phase)
    assert len(each["right"]) == len(each["loss"]) == done["validation_examples"] == 10
    assert each["right"].mean() == pytest.approx(done["validation_accuracy"])
    assert each["loss"].mean() == pytest.approx(done["validation_loss"], rel=1e-5)


def test_what_validates_best_is_told_compared_and_exported(run):
    folder = RunDir(run)
    (chosen,) = folder.records("choice")
    assert chosen["model"] == choice.choose(folder).model and chosen["candidates"] == ["head", "full"]
    other = next(name for name in ("head", "full") if name != chosen["model"])
    assert [(r["a"], r["b"]) for r in folder.records("comparison")] == [(chosen["model"], other)]
    assert folder.records("export")[-1]["model"] == chosen["model"]
    card = (run / "saved_model/1/assets/model_card.md").read_text()
    assert f"Exported is the {chosen['model']} model: {chosen['why']}." in card
    assert f"this is the model to export: {chosen['why']}." in (run / "report.html").read_text()


@pytest.mark.large
def test_an_option_exports_the_other_one_and_later_commands_keep_to_it(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    other = next(name for name in ("head", "full") if name != tools.exported(run))
    options = {"dataset": "digits", "run_dir": folder}
    api.fine_tune(**options, phases=["export"], export_phase=other)
    assert f"export  the {other} model: as --export_phase says; it validates" in capsys.readouterr().out
    assert tools.exported(folder) == other
    api.fine_tune(**options, phases=["evaluate", "report"])
    assert f"evaluate  what is exported is the {other} model" in capsys.readouterr().out
    assert f"Test accuracy, <bdi>{other}</bdi>" in (folder / "report.html").read_text()
    compare.compare(f"{run},{folder}", str(tmp_path / "out"), Console())
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert [r["model"] for r in found["runs"]] == [tools.exported(run), other]


def test_an_interrupted_phase_is_told(tmp_path_factory, tmp_path, capsys):
    shutil.copytree(tools.tiny_run(tmp_path_factory), tmp_path / "run")
    shutil.rmtree(tmp_path / "run/full")
    (tmp_path / "run/checkpoints/full.train/step-000005").mkdir(parents=True)
    api.fine_tune("digits", phases="evaluate", run_dir=tmp_path / "run")
    told = "full was interrupted and is left out; --phase=full with the options it began with goes on."
    assert told in capsys.readouterr().out
