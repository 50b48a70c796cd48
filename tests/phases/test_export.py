"""The export phase: what is written is what was measured, or nothing is."""

import json
import types

import numpy as np
import pytest
import tools

from tf_transfer import api
from tf_transfer.export import saved_model
from tf_transfer.modalities.image import pixels, preprocessing
from tf_transfer.phases import export
from tf_transfer.run.directory import RunDir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_whole_run_is_held_to_its_recorded_test_predictions(run):
    record = RunDir(run).records("export")[-1]
    parity = record["parity"]
    assert (parity["split"], parity["n"], parity["argmax_agreement"]) == ("test", 797, 1.0)
    assert parity["max_probability_difference"] <= 1e-5 and record["bytes_parity"]["rows_independent"]
    # Ten validation pictures are too few to fit a temperature.
    assert record["calibration"] == {"temperature": 1.0, "n": 0}
    assert [r["times"] for r in RunDir(run).records("test_read")] == [1]


def test_the_card_says_what_the_records_say(run):
    records, folder = RunDir(run), run / "saved_model/1/assets"
    card = json.loads((folder / "model_card.json").read_text())
    model = tools.exported(run)
    (measured,) = [r for r in records.records("evaluation") if r["model"] == model]
    assert card["metrics"][model]["accuracy"] == measured["metrics"]["accuracy"]
    assert card["model"]["classes"] == list("0123456789") and card["model"]["image_size"] == 32
    assert card["data"]["splits"] == {"train": 30, "validation": 10, "test": 797}
    assert card["export"]["parity"] == records.records("export")[-1]["parity"]
    assert card["export"]["accuracy"]["value"] == measured["metrics"]["accuracy"]["value"]
    assert set(card["phases"]) == {"head", "full"} and card["license"]["model"] is None
    assert card["versions"]["tensorflow"] and card["digests"]["weights"] and "--phase=all" in card["commands"][0]
    text = (folder / "model_card.md").read_text()
    value = measured["metrics"]["accuracy"]["value"]
    assert f"{100 * value:.1f}\N{NO-BREAK SPACE}%" in text and "to be filled in" in text
    assert json.loads((folder / "config.json").read_text()) == records.config()


@pytest.fixture
def options(tmp_path):
    # Enough to validate that a temperature is fitted.
    return tools.TINY | {"run_dir": tmp_path / "run", "quiet": True, "examples_per_class": 12, "epochs": 1}


@pytest.mark.large
def test_a_broken_preprocessing_is_caught_and_leaves_nothing(options, monkeypatch):
    api.fine_tune(**options, phases=["head", "evaluate"])
    folder = options["run_dir"]
    write, right = saved_model.write, preprocessing.scale

    def broken(*arguments):
        monkeypatch.setattr(preprocessing, "scale", lambda images, mode: right(0.5 * images, mode))
        try:
            return write(*arguments)
        finally:
            monkeypatch.setattr(preprocessing, "scale", right)

    monkeypatch.setattr(saved_model, "write", broken)
    before = files(folder)
    with pytest.raises(api.UserError, match=r"differs from the evaluated one.*nothing was exported"):
        api.fine_tune(**options, phases=["export"])
    assert files(folder) == before
    monkeypatch.setattr(saved_model, "write", write)
    result = api.fine_tune(**options, phases=["export"])
    done = RunDir(folder).done("saved_model")
    assert done["parity"]["split"] == "test" and done["calibration"]["n"] == 30
    low, value, high = (done["calibration"][k] for k in ("low", "temperature", "high"))
    assert low <= value <= high and value != 1.0
    kept = files(result.saved_model)
    # The same again is not made again, and recorded once; one that fails leaves the earlier one alone.
    monkeypatch.setattr(saved_model, "write", broken)
    api.fine_tune(**options, phases=["export"])
    assert len(RunDir(folder).records("export")) == 1
    with pytest.raises(api.UserError, match="nothing was exported"):
        api.fine_tune(**options, phases=["export"], restart=True)
    assert files(result.saved_model) == kept


def test_a_temperature_of_many_classes_takes_bounded_time_and_shows_its_progress():
    classes, told, notes = 3000, [], []
    logits = np.random.default_rng(0).normal(size=(1000, classes)).astype(np.float32)
    labels = logits.argmax(1)
    session = types.SimpleNamespace(
        progress=lambda label: lambda done, total, text: told.append((done, total)),
        console=types.SimpleNamespace(note=notes.append),
        modality=types.SimpleNamespace(many="pictures"),
    )
    found = export.calibrate(session, 1e-3 * logits, labels)
    # About two million logits are looked at, whatever the classes.
    assert found["n"] == (1 << 21) // classes < len(labels)
    # All right and hardly sure: any sharper temperature fits better.
    assert found["limit"] == 0.05 == pytest.approx(found["temperature"], rel=1e-3)
    assert "ends at its limit, 0.05" in notes[0] and "699 validation pictures" in notes[0]
    assert len(told) < 50 and told[-1][0] == told[-1][1]


def test_a_broken_resize_of_files_is_caught(options, monkeypatch):
    api.fine_tune(**options, phases=["head"])
    decode = pixels.Format.decode
    monkeypatch.setattr(pixels.Format, "decode", lambda self, *given: 255 - decode(self, *given))
    with pytest.raises(api.UserError, match="answers picture files otherwise than pictures"):
        api.fine_tune(**options, phases=["export"])
    assert not (options["run_dir"] / "saved_model").exists()


@pytest.mark.large
def test_an_evaluation_after_the_export_has_it_held_to_the_test_split(options):
    api.fine_tune(**options, phases=["head", "export"])
    run = RunDir(options["run_dir"])
    assert run.done("saved_model")["parity"]["split"] == "validation"
    api.fine_tune(**options, phases=["evaluate"])
    api.fine_tune(**options, phases=["export"])
    assert run.done("saved_model")["parity"]["split"] == "test"
    assert len(run.records("export")) == 2
    # The gate's own look decides nothing, and is not counted as one.
    assert [r["times"] for r in run.records("test_read")] == [1]


def test_test_pictures_that_changed_are_told(options, tmp_path):
    folder = tools.draw_shapes(tmp_path / "shapes", 12, size=32)
    options = options | {"dataset": str(folder), "examples_per_class": None}
    api.fine_tune(**options, phases=["head", "evaluate"])
    with np.load(options["run_dir"] / "evaluate/predictions.npz") as kept:
        assert len(kept["labels"]) >= 3
    random = np.random.default_rng(9)
    for path in sorted(folder.rglob("*.png")):
        tools.shape_picture(random, 0, 32).save(path)
    with pytest.raises(api.UserError, match="the test pictures have changed since --phase=evaluate"):
        api.fine_tune(**options, phases=["export"])
    assert not (options["run_dir"] / "saved_model").exists()
