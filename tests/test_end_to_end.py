"""The whole story: in one process and in several, on one device and on two, small and with ResNet-50."""

import csv
import io
import json
import re

import h5py
import numpy as np
import pytest
import tools
from PIL import Image

from tf_transfer import api, serving
from tf_transfer.console import Console
from tf_transfer.evaluation import classification
from tf_transfer.export import gate
from tf_transfer.report.formats import percent
from tf_transfer.run import directory
from tf_transfer.session.session import Session

WEIGHTS = [f"{phase}/{name}.weights.h5" for phase in ("head", "full") for name in ("backbone", "head")]


def arrays(path):
    """Returns every array of a weights file by its place in it."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def metrics(folder):
    return {r["model"]: r["metrics"] for r in directory.RunDir(folder).records("evaluation")}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The same run with a process a phase; options are given to the first, and what is for a phase to that phase."""
    folder = tmp_path_factory.mktemp("several")
    epochs = f"--epochs={tools.TINY['epochs']}"
    steps = [["head", *tools.flags(**tools.TINY)], ["full", epochs], ["evaluate"], ["export"]]
    done = {}
    for phase, *options in steps:
        done[phase] = tools.run_py(f"--phase={phase}", "--run_dir=run", *options, cwd=folder)
        assert (done[phase].returncode, done[phase].stderr) == (0, ""), done[phase]
    return folder / "run", done


def test_a_process_a_phase_gives_the_weights_of_one_process(one, several):
    for name in WEIGHTS:
        expected, got = arrays(one / name), arrays(several[0] / name)
        assert expected.keys() == got.keys()
        assert all(np.array_equal(expected[key], got[key]) for key in expected), name
    changed = arrays(one / WEIGHTS[0]), arrays(one / WEIGHTS[2])
    assert any(not np.array_equal(changed[0][key], changed[1][key]) for key in changed[0])


def test_a_process_a_phase_gives_the_metrics_of_one_process(one, several):
    assert list(metrics(one)) == ["head", "full"]
    assert metrics(one) == metrics(several[0])
    logits = [np.load(folder / "evaluate/predictions.npz") for folder in (one, several[0])]
    for name in ("labels", "head", "full"):
        assert np.array_equal(logits[0][name], logits[1][name])
    accuracy = (logits[0]["full"].argmax(1) == logits[0]["labels"]).mean()
    assert metrics(one)["full"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert metrics(one)["full"]["n"] == 797


def test_the_run_directory_keeps_the_options(several):
    recorded = json.loads((several[0] / "config.json").read_text())
    flat = {name: value for stage in recorded.values() for name, value in stage.items()}
    assert {name: flat[name] for name in tools.TINY} == tools.TINY


def test_the_tables_are_printed(several):
    printed = several[1]["evaluate"].stdout
    assert re.search(r"^model .*test accuracy", printed, re.MULTILINE)
    for row in ("head", "full", *"0123456789"):
        assert re.search(rf"^{row} ", printed, re.MULTILINE), row


def test_predict_in_a_fresh_process_answers_all_but_the_junk(several, tmp_path):
    samples = sorted((several[0] / "samples").glob("*.png"))
    assert len(samples) == 12
    (tmp_path / "in/deeper").mkdir(parents=True)
    for sample in samples[:3]:
        (tmp_path / "in" / sample.name).write_bytes(sample.read_bytes())
    (tmp_path / "in/deeper/junk.jpg").write_bytes(b"junk")
    (tmp_path / "in/notes.txt").write_text("no picture")
    done = tools.run_py(
        "--phase=predict", f"--run_dir={several[0]}", "--images=in", "--predictions=out.csv", cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "3 predicted, 1 not read" in done.stdout
    assert "in/deeper/junk.jpg  not read: " in done.stdout
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text("utf-8").splitlines()))
    assert [row["file"] for row in rows] == [*(f"in/{s.name}" for s in samples[:3]), "in/deeper/junk.jpg"]
    assert (rows[3]["label"], bool(rows[3]["error"])) == ("", True)
    pictures = np.stack([np.asarray(Image.open(s)) for s in samples[:3]])
    expected = serving.load(several[0]).predict(pictures)
    assert [row["label"] for row in rows[:3]] == [p.label for p in expected]
    assert np.allclose([float(row["probability"]) for row in rows[:3]], [p.probability for p in expected], atol=1e-5)


def test_a_finished_phase_says_so_and_other_options_are_refused(several, tmp_path, capsys):
    folder, before = several[0], (several[0] / "full/backbone.weights.h5").read_bytes()
    options = {"dataset": "digits", "backbone": "small_resnet", "run_dir": folder}
    for phase in ("head", "full"):
        api.fine_tune(**options, phases=[phase])
        assert f"{phase}  already done in {folder}" in capsys.readouterr().out
    # Only the head heeds it, so that full cannot have ended with another value.
    api.fine_tune(**options, phases=["full"], feature_views=2)
    with pytest.raises(api.UserError, match=r"--learning_rate was .*, now 0\.5\).*--restart"):
        api.fine_tune(**options, phases=["full"], learning_rate=0.5)
    api.fine_tune(**options, phases=["full"], learning_rate={"full": json_plan(folder, "full")["learning_rate"]})
    with pytest.raises(api.UserError, match=r"--backbone was 'small_resnet', now 'vgg16'.*another --run_dir"):
        api.fine_tune(**options | {"backbone": "vgg16"}, phases=["full"])
    with pytest.raises(api.UserError, match=r"--seed was 0, now 1"):
        api.fine_tune(**options, seed=1, restart=True, phases=["evaluate"])
    api.fine_tune(**options, phases=["evaluate"])
    assert "already done" in capsys.readouterr().out
    assert (folder / "full/backbone.weights.h5").read_bytes() == before


def json_plan(folder, phase):
    return json.loads((folder / phase / "done.json").read_text())["plan"]


def test_full_without_head_is_refused(tmp_path, one):
    done = tools.run_py("--phase=full", "--run_dir=new", "--dataset=digits", cwd=tmp_path)
    tools.assert_refused(done, "--phase=full goes on from what --phase=head left, and new has none", "Run --phase=head")
    with pytest.raises(api.UserError, match="--phase=export goes on from what --phase=head left"):
        api.fine_tune("digits", phases=["export"], run_dir="new")
    with pytest.raises(api.UserError, match=f"Runs with a head: {one}"):
        api.fine_tune("digits", phases=["full"], run_dir=one.parent / "other")


@pytest.mark.large
def test_restart_trains_again_and_forgets_what_came_after(tmp_path, one):
    options = tools.TINY | {"run_dir": tmp_path / "run", "quiet": True}
    api.fine_tune(**options, phases=["head", "full", "evaluate", "export"])
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"head", "full", "evaluate", "saved_model"}
    first = arrays(tmp_path / "run/head/head.weights.h5")
    result = api.fine_tune(**options, phases=["head"], learning_rate=0.3, restart=True)
    assert json_plan(result.run_dir, "head")["learning_rate"] == 0.3
    second = arrays(tmp_path / "run/head/head.weights.h5")
    assert any(not np.array_equal(first[key], second[key]) for key in first)
    assert not {p.name for p in (tmp_path / "run").iterdir()} & {"full", "evaluate", "saved_model"}
    # The same options again give the same weights again.
    api.fine_tune(**options, phases=["head"], restart=True)
    third = arrays(tmp_path / "run/head/head.weights.h5")
    assert all(np.array_equal(first[key], third[key]) for key in first)
    # Another network in the same folder starts it over.
    api.fine_tune(**options | {"seed": 5}, phases=["head"], restart=True)
    assert json.loads((tmp_path / "run/config.json").read_text())["run"]["seed"] == 5


@pytest.mark.large
def test_two_devices_give_what_one_gives(tmp_path, one):
    options = tools.TINY | {"run_dir": tmp_path / "run", "strategy": "mirrored", "quiet": True}
    result = api.fine_tune(**options, phases=["head", "full", "evaluate", "export"])
    start = directory.RunDir(result.run_dir).records("start")
    assert {r["device"]["replicas"] for r in start} == {2}
    for model in ("head", "full"):
        logits = [np.load(folder / "evaluate/predictions.npz")[model] for folder in (one, result.run_dir)]
        # Rounding, which grows from step to step; tests/training/test_step.py holds single steps to 1e-6.
        assert np.abs(logits[0] - logits[1]).max() < 5e-3 * np.abs(logits[0]).max()
        for name in ("accuracy", "nll", "ece"):
            assert result.metrics[model][name]["value"] == pytest.approx(
                metrics(one)[model][name]["value"], rel=5e-3, abs=5e-3
            )
    with pytest.raises(api.UserError, match="--batch_size=7: expected a multiple of the 2 replicas, such as 6 or 8"):
        api.fine_tune(**options, phases=["head"], restart=True, batch_size=7)


@pytest.mark.large
def test_resnet50_learns_shapes(tmp_path):
    folder = tools.draw_shapes(tmp_path / "shapes", 8)
    result = api.fine_tune(
        str(folder),
        phases=["head", "full", "evaluate", "export", "report"],
        weights="random",
        image_size=64,
        epochs={"head": 2, "full": 2},
        batch_size=8,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    assert list(result.metrics) == ["head", "full"]
    assert result.metrics["full"]["num_classes"] == 3
    plans = directory.RunDir(result.run_dir).records("plan")
    assert [r["parameters"]["total"] for r in plans] == [23_587_712 + 3 * 2049] * 2
    assert plans[0]["parameters"]["trained"] == 3 * 2049
    losses = [r["train_loss"] for r in directory.RunDir(result.run_dir).records("epoch")]
    assert np.isfinite(losses).all()
    export = directory.RunDir(result.run_dir).records("export")[-1]
    assert export["parity"]["max_probability_difference"] <= export["parity"]["tolerance"]
    answers = list(serving.load(result.saved_model).predict_files(sorted(folder.rglob("0.png"))))
    assert [set(a.probabilities) for a in answers] == [{"circle", "square", "triangle"}] * 3
    assert result.report.stat().st_size > 10_000


@pytest.mark.large
def test_learning_rate_search_for_head_and_full(tmp_path, capsys):
    options = tools.TINY | {"run_dir": tmp_path / "run"}
    for phase in ("head", "full"):
        api.fine_tune(**options, phases=["lr_find"])
        found = directory.RunDir(tmp_path / "run").records("lr_find")[-1]
        assert found["phase"] == phase
        assert found["rates"] == sorted(found["rates"])
        assert found["rates"][0] <= found["suggestion"] <= found["rates"][-1]
        assert len(found["rates"]) == len(found["losses"])
        assert f"--learning_rate={phase}:{found['suggestion']:.2g}" in capsys.readouterr().out
        assert "<svg" in (tmp_path / "run/lr_find.svg").read_text()
        if phase == "head":
            assert not (tmp_path / "run/head").exists()
            api.fine_tune(**options, phases=["head"], quiet=True)


# As a user runs it: the head is solved, where TINY, which asks for epochs, trains it in steps.
SOLVED = {k: v for k, v in tools.TINY.items() if k != "epochs"} | {"quiet": True, "phases": ["head"]}


def test_the_same_head_with_the_store_without_and_again(tmp_path):
    stores = {"off": "off", "kept": tmp_path / "store", "again": tmp_path / "store"}
    for name, store in stores.items():
        api.fine_tune(**SOLVED, run_dir=tmp_path / name, feature_store=store)
    first = arrays(tmp_path / "off/head/head.weights.h5")
    for name in ("kept", "again"):
        other = arrays(tmp_path / name / "head/head.weights.h5")
        assert all(np.array_equal(first[key], other[key]) for key in first)
    assert len(list((tmp_path / "store").rglob("features.f32"))) == 2
    end = directory.RunDir(tmp_path / "off").records("phase_end")[-1]
    path = directory.RunDir(tmp_path / "off").records("path")
    best = min(path, key=lambda r: r["validation_loss"])
    assert (end["l2"], end["validation_accuracy"]) == (best["l2"], best["validation_accuracy"])
    # Other weights, pictures or views are other features.
    views = {"feature_views": 3, "augment": "crop"}
    for change in ({"seed": 1}, {"image_size": 24}, views, {"precision": "bfloat16"}, {"xla": "on"}):
        before = len(list((tmp_path / "store").rglob("features.f32")))
        api.fine_tune(**SOLVED | change, run_dir=tmp_path / str(change), feature_store=tmp_path / "store")
        assert len(list((tmp_path / "store").rglob("features.f32"))) > before


def test_the_solved_head_is_what_the_network_then_computes(tmp_path):
    """Features once, scaled, solved and folded back, against the pictures through the whole network."""
    result = api.fine_tune(**SOLVED | {"phases": ["head", "evaluate"]}, run_dir=tmp_path / "run")
    end = directory.RunDir(result.run_dir).records("phase_end")[-1]
    config, run = api.open_run({"run_dir": str(result.run_dir)}, [], write=False)
    session = Session(config, frozenset(), run, Console(io.StringIO()))
    held = session.datasets.training().validation
    measured = classification.measure(session.trained("head").logits(held.inputs).numpy(), held.labels)
    assert measured["accuracy"] == end["validation_accuracy"]
    assert measured["loss"] == pytest.approx(end["validation_loss"], rel=1e-4)


@pytest.mark.large
@pytest.mark.parametrize(("trained", "exported"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_an_export_in_another_precision(tmp_path, trained, exported):
    options = SOLVED | {"phases": ["head", "export"], "precision": trained, "export_precision": exported}
    result = api.fine_tune(**options, run_dir=tmp_path / "run")
    record = directory.RunDir(result.run_dir).records("export")[-1]
    bound = gate.TOLERANCE[exported].probability
    assert (record["precision"], record["parity"]["tolerance"]) == (exported, bound)
    assert record["parity"]["max_probability_difference"] <= bound
    # The other precision is what sets it apart from what was measured.
    original = record["parity"]["original"]
    assert original["argmax_agreement"] >= 0.9 and 0 < original["max_probability_difference"] < 5e-2
    # The figures of the card are those of what was exported.
    card = (result.run_dir / "saved_model/1/assets/model_card.md").read_text()
    assert f"probabilities differ by {original['max_probability_difference']:.1g} at most" in card
    assert f"right on {percent(record['accuracy']['value'])}" in card


def test_the_same_command_again_is_done_already(tmp_path, capsys):
    same = [{}, {"optimizer": {"head": "lbfgs"}, "epochs": 2}, {"augment": "flip"}, {"augment": "crop,flip"}]
    for number, options in enumerate(same):
        for _ in range(2):
            api.fine_tune(**SOLVED | options | {"quiet": False}, run_dir=tmp_path / str(number))
        assert "head  already done" in capsys.readouterr().out
    with pytest.raises(api.UserError, match=r"--optimizer was 'lbfgs', now 'sgd'"):
        api.fine_tune(**SOLVED | {"optimizer": "sgd"}, run_dir=tmp_path / "0")
    with pytest.raises(api.UserError, match=r"takes sgd or adamw\. For the head alone: --optimizer=head:lbfgs"):
        api.fine_tune(**SOLVED | {"optimizer": "lbfgs", "phases": ["head", "full"]}, run_dir=tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_a_full_phase_that_loses_to_its_head_says_so(tmp_path, capsys):
    options = SOLVED | {"quiet": False, "phases": ["head", "full", "report"]}
    api.fine_tune(**options, run_dir=tmp_path / "run", epochs={"full": 1}, learning_rate={"full": 30.0}, clip_norm=1.0)
    assert "note  the whole network validates worse than the head it began from" in capsys.readouterr().out
    assert "validates worse than the head" in (tmp_path / "run/report.html").read_text()
