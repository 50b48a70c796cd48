"""The Python way in: what it returns, prints and refuses, and how a run directory completes the options."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tools
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import tf_transfer
from tf_transfer import api, config
from tf_transfer.errors import UserError
from tf_transfer.phases import catalogue
from tf_transfer.run import directory


def test_the_package_imports_nothing_heavy(tmp_path):
    program = "import sys, tf_transfer as t; t.fine_tune, t.serving; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert tools.python("-c", program, cwd=tmp_path).stdout == "set()\n"
    assert tf_transfer.fine_tune is api.fine_tune
    with pytest.raises(AttributeError, match="'tf_transfer' has no attribute 'finetune'"):
        tf_transfer.finetune  # noqa: B018


def test_fine_tune_returns_the_metrics_and_prints_nothing_when_quiet(tmp_path, capfd):
    import tensorflow as tf

    # TensorFlow greets when its devices start, whoever starts them.
    tf.config.list_logical_devices()
    capfd.readouterr()
    result = tf_transfer.fine_tune(**tools.TINY | {"run_dir": tmp_path / "run", "quiet": True})
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert result.run_dir == tmp_path / "run"
    assert list(result.metrics) == ["head", "full"]
    kept = np.load(result.run_dir / "evaluate/predictions.npz")
    for model, measured in result.metrics.items():
        right = (kept[model].argmax(1) == kept["labels"]).mean()
        assert measured["accuracy"]["value"] == pytest.approx(right)
        assert measured["accuracy"]["low"] <= right <= measured["accuracy"]["high"]
    assert (result.saved_model, result.report) == (result.run_dir / "saved_model/1", result.run_dir / "report.html")
    answers = tf_transfer.serving.load(result.saved_model).predict(np.zeros((2, 8, 8, 3), np.uint8))
    assert [len(a.probabilities) for a in answers] == [10, 10]


def test_what_was_not_made_is_none(tmp_path):
    result = tf_transfer.fine_tune(**tools.TINY | {"run_dir": tmp_path / "run", "quiet": True, "phases": "head"})
    assert (result.metrics, result.saved_model, result.report) == ({}, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": "three"}, "--epochs: expected a number, got 'three'"),
        ({"epochs": "full:2,haed:1"}, "--epochs='full:2,haed:1': expected PHASE:VALUE"),
        ({"phases": ["train"]}, r"Unknown --phase 'train'\. Did you mean 'head'"),
        ({"seed": 1.5}, "--seed: expected a value of type int"),
        ({"batch_size": True}, "--batch_size: expected a value of type int, got True"),
        ({"epochs": {"haed": 1}}, "--epochs: a value for each of source, head, full, scratch"),
        ({"seed": {"head": 1}}, "--seed: a value for each of"),
        ({"learning_rate": float("inf")}, "--learning_rate: expected 1e-09 to 1000.0, got inf"),
        ({"phases": ["predict"]}, "Unknown --phase 'predict'"),
        ({"phases": ["source"]}, "say on what with --source_dataset"),
    ],
)
def test_wrong_values_are_user_errors(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        api.fine_tune(**tools.TINY | {"run_dir": tmp_path / "run", "phases": ["head"], "quiet": True} | options)


def finished(options, phase="head"):
    """A run directory in which a phase has ended, as far as the options are concerned."""
    _, run = api.open_run({"run_dir": "run"} | options, [phase])
    run.write_json(f"{phase}/done.json", {"epochs": 1})
    return run


def recorded():
    nested = json.loads(Path("run/config.json").read_text())
    return {name: value for stage in nested.values() for name, value in stage.items()}


def test_options_not_given_come_from_the_run_directory():
    finished({"dataset": "digits", "backbone": "vgg16", "image_size": 64, "seed": 4, "precision": "float32"})
    complete, _ = api.open_run({"run_dir": "run"}, ["evaluate"])
    assert (complete.data.dataset, complete.model.backbone, complete.model.input_size) == ("digits", "vgg16", 64)
    assert (complete.run.seed, complete.run.precision) == (4, "float32")


def test_training_options_count_for_one_command_and_are_recorded():
    finished({"dataset": "digits", "learning_rate": 0.5, "epochs": {"head": 3.0, "full": 4.0}})
    complete, run = api.open_run({"run_dir": "run", "epochs": 9.0}, ["full"])
    run.record("start")
    assert (complete.training.learning_rate, complete.training.epochs) == (None, 9.0)
    assert (recorded()["learning_rate"], recorded()["epochs"]) == (0.5, 9.0)


@pytest.mark.parametrize("name", ["strategy", "data_dir", "max_unreadable", "source_dataset", "feature_store"])
def test_options_that_touch_nothing_trained_may_change(name):
    finished({"dataset": "digits"})
    value = {"strategy": "one", "max_unreadable": 3}.get(name, "other")
    complete, run = api.open_run({"run_dir": "run", name: value}, ["full"])
    run.record("start")
    assert dataclasses.asdict(complete)[config.option_fields()[name][0]][name] == value
    assert recorded()[name] == value


def test_the_source_data_set_is_held_fast_once_there_is_a_source_model():
    finished({"dataset": "digits", "source_dataset": "rendered_digits"}, "source")
    with pytest.raises(UserError, match=r"--source_dataset was 'rendered_digits', now 'usps'"):
        api.open_run({"run_dir": "run", "source_dataset": "usps"}, ["source"])


def test_every_other_option_is_held_fast():
    run = finished({"dataset": "digits"})
    others = {
        "dataset": "mnist",
        "validation_fraction": 0.3,
        "examples_per_class": 5,
        "group_by": "folder",
        "near_copies": 3,
        "class_weights": "balanced",
        "backbone": "vgg16",
        "weights": "random",
        "input_size": 96,
        "dropout": 0.5,
        "seed": 3,
        "precision": "float32",
    }
    free = {"run_dir", "strategy", "data_dir", "max_unreadable", "max_conflicts", "source_dataset"}
    free |= {"feature_store", "feature_store_gb", "export_phase", "export_precision", "export_targets", "xla"}
    free |= {"checkpoint_every", "on_nan", "worker_timeout", "assess_budget", "shifted", "backbones", "imports"}
    free |= {"xla_cache", "xla_cache_gb"}
    untrained = {name for name, (stage, _) in config.option_fields().items() if stage != "training"}
    assert set(others) == untrained - free
    before = recorded()
    for name, value in others.items():
        with pytest.raises(UserError, match=rf"--{name} was .*, now .*Use another --run_dir, or start it over"):
            api.open_run({"run_dir": "run", name: value}, ["full"])
        with pytest.raises(UserError, match=rf"--{name} was"):
            api.open_run({"run_dir": "run", name: value}, ["full", "evaluate"], restart=True)
    assert recorded() == before
    assert run.done("head") is not None


@pytest.mark.parametrize(("name", "value"), [("group_by", "folder"), ("near_copies", 3)])
def test_an_option_that_an_older_version_did_not_record_had_its_default(name, value):
    run = finished({"dataset": "digits"})
    nested = json.loads(Path("run/config.json").read_text())
    del nested["data"][name]
    Path("run/config.json").write_text(json.dumps(nested))
    with pytest.raises(UserError, match=rf"--{name} was None, now {value!r}\. Use another --run_dir, or start it over"):
        api.open_run({"run_dir": "run", name: value}, ["head"])
    complete, again = api.open_run({"run_dir": "run", name: value}, ["head"], restart=True)
    again.record("start")
    assert (run.done("head"), recorded()[name], getattr(complete.data, name)) == (None, value, value)
    assert [record["kind"] for record in again.records()] == ["start_over", "start"]


def test_starting_over_forgets_the_models_and_keeps_the_records():
    run = finished({"dataset": "digits", "seed": 1})
    run.record("note", text="kept")
    complete, again = api.open_run({"run_dir": "run", "seed": 2}, ["head", "full"], restart=True)
    assert (run.done("head"), recorded()["seed"]) == ({"epochs": 1}, 1)
    again.record("start")
    assert recorded()["seed"] == 2
    # Of the other options those that were recorded hold: they are what the user last asked for.
    assert (complete.run.seed, complete.data.dataset) == (2, "digits")
    assert run.done("head") is None
    assert [r["text"] for r in run.records("note")] == ["kept"]


def test_starting_over_begins_with_a_phase_that_needs_no_model_of_the_run():
    finished({"dataset": "digits", "seed": 1, "weights": "source", "source_dataset": "rendered_digits"})
    options = {"run_dir": "run", "seed": 2, "weights": "source", "source_dataset": "rendered_digits"}
    for phases in (["full", "head"], ["evaluate", "head"], ["head", "source"], []):
        with pytest.raises(UserError, match=r"--seed was 1, now 2.* --restart and --phase=source first"):
            api.open_run(options, phases, restart=True)
    api.open_run(options, ["source", "head"], restart=True)
    # Also where --weights=source is not given again: the source model is set aside with the rest.
    with pytest.raises(UserError, match="--restart and --phase=source first"):
        api.open_run({"run_dir": "run", "seed": 2}, ["head"], restart=True)
    with pytest.raises(UserError, match="--restart and --phase=head first"):
        api.open_run({"run_dir": "run", "weights": "imagenet"}, ["full", "head"], restart=True)


DIGITS = {"dataset": "digits", "backbone": "small_resnet", "weights": "random", "examples_per_class": 4}


def restarted(**given):
    """What a start over makes of the options, what it says of them, and what it records."""
    notes = []
    complete, run = api.open_run({"run_dir": "run"} | given, ["head"], restart=True, note=notes.append)
    run.record("start")
    return configuration(complete), notes, recorded()


def configuration(complete):
    return {name: value for stage in complete.to_dict().values() for name, value in stage.items()}


def test_a_start_over_takes_what_is_not_given_from_the_run_before():
    finished(DIGITS | {"epochs": {"source": 6.0}, "strategy": "one", "assess_budget": 2.0})
    found, notes, kept = restarted(seed=3, epochs=2.0)
    assert DIGITS.items() <= found.items() and (found["seed"], found["epochs"], found["assess_budget"]) == (3, 2.0, 2.0)
    # What the machine decides, and how the models that are gone were trained, are not taken.
    assert found["strategy"] == "auto" and {k: v for k, v in found.items() if k != "run_dir"}.items() <= kept.items()
    assert len(notes) == 1 and "--dataset='digits', --examples_per_class=4, --backbone='small_resnet'" in notes[0]
    assert "--seed" not in notes[0] and "--strategy" not in notes[0] and "nor" not in notes[0]
    # The same command again, after a crash, finds the same options.
    assert api.open_run({"run_dir": "run", "seed": 3, "epochs": 2.0}, ["head"], restart=True)[0].to_dict() == nested()


def nested():
    return json.loads(Path("run/config.json").read_text())


def test_a_start_over_says_which_training_options_it_does_not_take():
    finished(DIGITS | {"epochs": 7.0, "learning_rate": 0.5})
    found, notes, kept = restarted(seed=3)
    assert (found["epochs"], found["learning_rate"], kept["epochs"]) == (None, None, None)
    assert "nor --epochs=7.0, --learning_rate=0.5, as training options count for one command" in notes[0]


def test_what_is_of_a_network_or_a_data_set_is_not_taken_by_another():
    before = {"backbone": "vgg16", "image_size": 64, "weights": "some.weights.h5", "dropout": 0.5, "dataset": "mnist",
              "max_unreadable": 3, "shifted": "a:digits", "validation_fraction": 0.3}  # fmt: skip
    finished(before, "full")
    found, notes, _ = restarted(backbone="vgg19")
    assert (found["input_size"], found["weights"], found["dropout"]) == (None, "imagenet", 0.5)
    assert (found["max_unreadable"], found["shifted"]) == (3, "a:digits")
    assert "not --weights='some.weights.h5', --input_size=64, of what is exchanged" in notes[0]
    finished(before, "full")
    found, _, _ = restarted(backbone="vgg19", dataset="digits", image_size=48)
    assert (found["max_unreadable"], found["shifted"], found["validation_fraction"]) == (0, None, 0.3)
    assert found["input_size"] == 48


def test_words_for_weights_are_for_any_network_and_nothing_trained_exchanges_alike():
    _, run = api.open_run({"run_dir": "run", "backbone": "vgg16", "image_size": 64, "weights": "random"}, ["head"])
    run.record("start")
    complete, _ = api.open_run({"run_dir": "run", "backbone": "vgg19"}, ["head"])
    assert (complete.model.weights, complete.model.input_size) == ("random", None)


def test_in_python_the_network_need_not_be_named_again(tmp_path):
    options = tools.TINY | {"run_dir": tmp_path / "run", "quiet": True, "phases": ["head"]}
    api.fine_tune(**options)
    api.fine_tune("digits", run_dir=tmp_path / "run", quiet=True, phases=["head"], seed=5, restart=True, epochs=1)
    done = directory.RunDir(tmp_path / "run").records("plan")
    assert done[0]["parameters"] == done[-1]["parameters"] and len(done) == 2


def test_the_options_of_a_command_that_failed_do_not_stay(tmp_path):
    """What is wrong with them may only be found when the data is open."""
    options = tools.TINY | {"run_dir": tmp_path / "run", "quiet": True, "phases": ["head"]}
    for wrong in ({"examples_per_class": 5000}, {"batch_size": 8, "unfreeze": "("}, {"dataset": tmp_path / "typo"}):
        with pytest.raises(UserError):
            api.fine_tune(**options | wrong)
        assert not list((tmp_path / "run").rglob("*"))
    api.fine_tune(**options)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="has only"):
        api.fine_tune(**options | {"examples_per_class": 5000, "restart": True})
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(path)


def test_data_that_changed_after_head_is_noticed(tmp_path, capsys):
    for label in "ab":
        for i in range(8):
            draw(tmp_path / "data" / label / f"{i}.png", seed=i + 10 * ord(label))
    options = {"dataset": tmp_path / "data", "backbone": "small_resnet(width=4)", "weights": "random", "epochs": 1}
    options |= {"run_dir": tmp_path / "run", "quiet": True, "image_size": 16}
    api.fine_tune(**options, phases=["head"])
    (seen,) = (json.loads(path.read_text()) for path in (tmp_path / "run/data").glob("contents-*.json"))
    kept = {name for split in seen.values() for name in split.values()}
    # What trained it, or chose it, would have to test it: nothing else of the class is left.
    for name in [name for name in seen["test"].values() if name.startswith("a/")]:
        (tmp_path / "data" / name).rename(tmp_path / f"{name[2:]}.away")
    for phase in ("full", "evaluate", "export"):
        with pytest.raises(
            UserError,
            match=r"has changed since --phase=head: .*now test\). Files that came .*--phase=head,full --restart",
        ):
            api.fine_tune(**options, phases=[phase])
    for path in tmp_path.glob("*.away"):
        path.rename(tmp_path / "data/a" / path.stem)
    # What comes is added to every split, and told.
    for label in "ab":
        for i in range(40):
            draw(tmp_path / "data" / label / f"new{i}.png", seed=1000 + i + 100 * ord(label))
    # The same pictures in other files are copies that the carve cannot know.
    with Image.open(tmp_path / "data" / sorted(seen["train"].values())[0]) as trained:
        for i in range(40):
            note = PngInfo()
            note.add_text("number", str(i))
            trained.save(tmp_path / "data/a" / f"saved again {i}.png", pnginfo=note)
    capsys.readouterr()
    api.fine_tune(**options | {"quiet": False}, phases=["evaluate"])
    said = capsys.readouterr().out
    (line,) = re.findall("data  since --phase=head: (.*)", said)
    came = {split: int(number) for split, number in re.findall(r"(\w+) (\d+) came", line)}
    assert sum(came.values()) == 120 and set(came) == {"train", "validation", "test"} and "went" not in line
    with np.load(tmp_path / "run/evaluate/predictions.npz") as predicted:
        right, total = predicted["head"].argmax(1) == predicted["labels"], len(predicted["labels"])
        assert total == len(seen["test"]) + came["test"] and len(kept) == 16
    without = directory.RunDir(tmp_path / "run").records("evaluation")[-1]["metrics"]["without_copies"]
    assert 0 < without["copies"] < 40 and without["n"] == total - without["copies"]
    # All copies are one picture, which is always right or always wrong.
    assert round(without["value"] * without["n"]) in (right.sum(), right.sum() - without["copies"])
    assert f"note  head: {without['copies']} of the {total} test pictures are copies of training ones" in said
    assert api.fine_tune(**options, phases=["full"]).run_dir == tmp_path / "run"
    assert len(list((tmp_path / "run/data").glob("contents-*.json"))) == 2


def test_the_default_folder_is_named_after_what_is_transferred():
    for dataset, backbone, expected in (
        ("cifar10", "resnet50", "runs/cifar10-resnet50"),
        (
            "folder(path=../my pictures)",
            "mobilenet(alpha=0.25)",
            "runs/folder-path-..-my-pictures--mobilenet-alpha-0.25",
        ),
        ("/" * 300, "vgg16", "runs/vgg16"),
        ("..", "..", "runs/..-.."),
    ):
        made = config.from_values({"dataset": dataset, "backbone": backbone})
        assert made.run_dir == expected
        assert Path(made.run_dir).parent == Path("runs")


def test_a_result_of_an_unopened_run(tmp_path):
    """Looking without writing makes no folder."""
    api.open_run({"run_dir": str(tmp_path / "run"), "dataset": "digits"}, ["full"], write=False)
    assert not (tmp_path / "run").exists()
    assert directory.RunDir(tmp_path / "run").config() is None


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"epochs": "full:2"}, {"epochs": {"full": 2.0}}),
        ({"epochs": "3", "batch_size": "head:8,full:4"}, {"epochs": 3.0, "batch_size": {"head": 8, "full": 4}}),
        ({"optimizer": "full:adamw(weight_decay=0.1)"}, {"optimizer": {"full": "adamw(weight_decay=0.1)"}}),
        ({"phases": "head, evaluate"}, {"phases": ["head", "evaluate"]}),
        ({"phases": "all"}, {"phases": list(catalogue.ALL)}),
        ({"phases": ["assess", "all"]}, {"phases": ["assess", *catalogue.ALL]}),
    ],
)
def test_texts_are_read_as_flags_are(tmp_path, monkeypatch, given, same):
    class ReachedError(Exception):
        pass

    def stop(options, phases, *_, **__):
        raise ReachedError(options, phases)

    monkeypatch.setattr(api, "open_run", stop)
    plain = {"dataset": "digits", "run_dir": str(tmp_path / "run"), "quiet": True, "phases": ["head"]}
    seen = []
    for options in (given, same):
        with pytest.raises(ReachedError) as reached:
            api.fine_tune(**plain | options)
        seen.append(reached.value.args)
    assert seen[0] == seen[1]
