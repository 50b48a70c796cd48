"""What version 0.1.0 left goes on: a run directory, its SavedModel and its feature store, from an archive."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tools
from scipy.special import softmax

from tf_transfer import api, serving
from tf_transfer.data.sources import open_source
from tf_transfer.modalities import base
from tf_transfer.run.directory import RunDir

ARCHIVE = Path(__file__).parent / "fixtures" / "run-0.1.0.tar.gz"
# The command that made the run, which recorded these.
OPTIONS = {"dataset": "digits", "examples_per_class": 4, "validation_fraction": 0.25, "epochs": {"full": 2.0}}
MODEL = {"backbone": "small_resnet(width=4)", "weights": "random", "precision": "float32", "seed": 3}


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The run and its feature store, in the working folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def recorded(run):
    with np.load(run / "evaluate" / "predictions.npz") as kept:
        return {name: kept[name] for name in kept}


def test_the_archive_is_of_that_version_and_small(old):
    (first, *_) = RunDir(old).records("start")
    assert first["versions"]["tf_transfer"] == "0.1.0" and ARCHIVE.stat().st_size < 1e6
    card = json.loads((old / "saved_model/1/assets/model_card.json").read_text())
    # As from a modality that has no name yet.
    assert "modality" not in card and "image_size" in RunDir(old).config()["model"]


def test_its_saved_model_predicts_what_was_measured(old, tmp_path):
    test = open_source("digits", base.find("image"), None, 0).load("test", None, 32)
    with serving.Predictor(old) as predictor:
        answers = predictor.predict(test.inputs)
        assert predictor.class_names == tuple("0123456789")
    expected = softmax(recorded(old)["full"], axis=1)
    np.testing.assert_allclose([list(a.probabilities.values()) for a in answers], expected, atol=1e-5)
    done = tools.run_py("--phase=predict", "--run_dir=run", "--images=run/samples", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "12 predicted, 0 not read" in done.stdout


def test_every_phase_that_was_done_is_done(old, capsys):
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file() and path.name != "records.jsonl"}
    api.fine_tune(run_dir=str(old), phases=["head", "full", "evaluate", "export"], dataset="digits")
    said = capsys.readouterr().out
    for phase in ("head", "full", "evaluate", "export"):
        assert f"{phase}  already done" in said
    assert {path: path.read_bytes() for path in before} == before
    kinds = [r["kind"] for r in RunDir(old).records()]
    assert (kinds.count("phase_end"), kinds.count("evaluation"), kinds.count("export")) == (2, 2, 1)


def test_it_is_exported_evaluated_and_trained_again(old):
    logits = recorded(old)
    run = RunDir(old)
    (old / "saved_model/done.json").unlink()
    again = api.fine_tune(run_dir=str(old), phases=["export"], dataset="digits", quiet=True)
    parity = run.records("export")[-1]["parity"]
    assert parity["split"] == "test" and parity["max_probability_difference"] <= 1e-5
    card = json.loads((again.saved_model / "assets/model_card.json").read_text())
    assert card["modality"]["many"] == "pictures" and card["model"]["image_size"] == 32
    # From the head of then.
    api.fine_tune(
        "digits", run_dir=str(old), phases=["full", "evaluate"], epochs={"full": 2.0}, restart=True, quiet=True
    )
    assert [r["phase"] for r in run.records("phase_end")] == ["head", "full", "full"]
    first, second = (r["validation_loss"] for r in run.records("phase_end") if r["phase"] == "full")
    assert second == pytest.approx(first, rel=0.05)
    np.testing.assert_allclose(recorded(old)["head"], logits["head"], rtol=1e-4, atol=1e-4)
    report = api.fine_tune(run_dir=str(old), phases=["report"], dataset="digits", quiet=True)
    assert (old / "report.html").stat().st_size > 10_000 and set(report.metrics) == {"head", "full"}


def test_fine_tune_takes_the_options_of_then_and_the_features_are_made_anew(old, tmp_path, capsys):
    done = json.loads((old / "head/done.json").read_text())
    result = api.fine_tune(
        **OPTIONS, **MODEL, run_dir=str(tmp_path / "again"), feature_store="features", phases=["head"], image_size=32
    )
    said = capsys.readouterr().out
    assert said.count("they are made anew") == 1
    new = json.loads((result.run_dir / "head/done.json").read_text())
    assert new["split_digest"] == done["split_digest"]
    assert new["validation_loss"] == pytest.approx(done["validation_loss"], rel=1e-3)
    # What the older version kept stays for it.
    assert len(list((tmp_path / "features").glob("*/facts.json"))) == 4


def test_an_assessment_of_then_is_done_and_the_test_split_is_not_read_again(old, capsys):
    run = RunDir(old)
    stages = run.config()
    models = {"source": None, "scratch": None} | {name: run.done(name)["seconds"] for name in ("head", "full")}
    asked = {"models": models, "seed": 3, "precision": "float32"}
    asked |= {name: stages[name] for name in ("data", "model", "training", "assess")}
    # Options that came later are not in it.
    assert "image_size" in stages["model"] and "method" not in stages["training"]
    verdict = {"advice": "fine-tune", "rule": "full is better than head", "numbers": {}}
    told = {"verdict": verdict, "blocks": {"outcome": {"kinds": {}}}, "split": "test", "seconds": 9.0, "spent": {}}
    (old / "assess/result").mkdir(parents=True)
    done = old / "assess/result/done.json"
    done.write_text(json.dumps({"id": "0123456789ab", "asked": asked, "restart": None, **told}))
    reads = len(run.records("test_read"))
    # Training options hold for one command, so they are given again.
    epochs = stages["training"]["epochs"]
    api.fine_tune("digits", run_dir=str(old), phases=["assess"], epochs=epochs)
    assert "assess  already done; the test pictures are not read again" in capsys.readouterr().out
    assert len(run.records("test_read")) == reads
    assert json.loads(done.read_text())["id"] == "0123456789ab"


@pytest.mark.large
def test_its_artefact_is_evaluated_from_elsewhere(old, tmp_path):
    done = tools.run_py("--phase=evaluate", "--dataset=digits", "--saved_model=run", "--run_dir=none", cwd=tmp_path)
    (accuracy,) = {r["metrics"]["accuracy"]["value"] for r in RunDir(old).records("evaluation") if r["model"] == "full"}
    assert done.returncode == 0, done
    assert f"accuracy {accuracy:.3f}" in done.stdout
