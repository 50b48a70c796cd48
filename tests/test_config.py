import dataclasses
import json
import math

import pytest

from tf_transfer.config import (
    Config,
    Training,
    flatten,
    from_values,
    option_fields,
    parse_option,
    pick,
)
from tf_transfer.errors import UserError
from tf_transfer.phases.catalogue import TRAINED

OPTIONS = {name: field.metadata for name, (_, field) in option_fields().items()}
NUMERIC = [name for name, facts in OPTIONS.items() if facts["kind"] in (int, float)]


def some_value(name):
    """A valid value of an option other than its default."""
    facts = OPTIONS[name]
    if facts["choices"]:
        return facts["choices"][-1]
    if facts["kind"] is str:
        return "random" if name == "weights" else f"some {name}"
    low = facts["low"] or 0
    high = facts["high"] if facts["high"] is not None else low + 2
    return low + 1 if facts["kind"] is int else (low + high) / 2


# --- the record of a run


def test_config_survives_json():
    values = {name: some_value(name) for name in OPTIONS}
    values |= {"epochs": {"head": 5, "full": 8.5}, "bn": {"full": "frozen"}}
    config = from_values(values)
    stored = json.loads(json.dumps(config.to_dict()))
    assert from_values(flatten(stored)) == config
    assert config != Config()


def test_defaults_survive_json():
    assert from_values(flatten(json.loads(json.dumps(Config().to_dict())))) == Config() == from_values({})


def test_options_of_another_version_are_left_out():
    stored = Config().to_dict()
    stored["data"]["gone"] = 1
    stored["old_stage"] = {"older": 2}
    assert from_values(flatten(stored)) == Config()


def test_values_go_over_a_base():
    base = from_values({"seed": 3, "dataset": "digits"})
    config = from_values({"seed": 4}, base)
    assert (config.run.seed, config.data.dataset) == (4, "digits")


def test_option_names_are_unique_and_explained():
    stages = [
        f.name
        for stage in ("data", "model", "training", "run", "assess")
        for f in dataclasses.fields(getattr(Config(), stage))
    ]
    assert len(stages) == len(set(stages)) == len(OPTIONS)
    assert all(len(facts["help"]) > 5 for facts in OPTIONS.values())


# --- what is refused


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_refuses_another_type_by_its_name(name):
    wrong = ["text", True, [1], math.nan] if name in NUMERIC else [1, [1], b"text"]
    if OPTIONS[name]["kind"] is int:
        wrong += [1.5, 2.0, math.inf]
    for value in wrong:
        with pytest.raises(UserError, match=f"^--{name}: expected"):
            from_values({name: value})


@pytest.mark.parametrize("name", NUMERIC)
def test_every_number_refuses_what_is_out_of_its_range(name):
    facts = OPTIONS[name]
    step = 1 if facts["kind"] is int else 1e-6
    for bound, beyond in ((facts["low"], -step), (facts["high"], step * (facts["high"] or 0) + step)):
        if bound is None:
            continue
        from_values({name: bound})
        with pytest.raises(UserError, match=rf"^--{name}: expected {facts['low']}( to| or more).*, got"):
            from_values({name: bound + beyond})
    assert facts["low"] is not None, "a number without a lower bound"
    assert facts["kind"] is int or facts["high"] is not None, "infinity is let in"


@pytest.mark.parametrize("name", [name for name, facts in OPTIONS.items() if facts["choices"]])
def test_every_choice_lists_what_there_is(name):
    for value in OPTIONS[name]["choices"]:
        from_values({name: value})
    with pytest.raises(
        UserError, match=f"^--{name}: expected one of {', '.join(OPTIONS[name]['choices'])}, got 'else'"
    ):
        from_values({name: "else"})


@pytest.mark.parametrize("name", [name for name, (_, field) in option_fields().items() if field.default is not None])
def test_an_option_with_a_default_cannot_be_nothing(name):
    with pytest.raises(UserError, match=f"^--{name}: expected a value of type"):
        from_values({name: None})


def test_an_unknown_option_is_told_with_the_nearest():
    with pytest.raises(UserError, match=r"Unknown option 'epoch'. Did you mean 'epochs'\? Known: epochs, "):
        from_values({"epoch": 1})


def test_source_weights_need_a_source():
    with pytest.raises(UserError, match=r"--weights=source .* give --source_dataset too"):
        from_values({"weights": "source"})
    from_values({"weights": "source", "source_dataset": "rendered_digits"})


def test_messages_stay_on_one_line():
    with pytest.raises(UserError) as e:
        from_values({"strategy": "a\nb\x1b[2J"})
    assert "\n" not in str(e.value) and "\x1b" not in str(e.value)


# --- one value a phase


@pytest.mark.parametrize("name", [name for name, facts in OPTIONS.items() if facts["per_phase"]])
def test_options_of_phases_take_one_value_each(name):
    config = from_values({name: {"full": some_value(name)}})
    value = getattr(config.training, name)
    assert pick(value, "full") == some_value(name) and pick(value, "head") is None
    assert pick(some_value(name), "head") == some_value(name)
    with pytest.raises(UserError, match=f"^--{name}: "):
        from_values({name: {"fall": some_value(name)}})
    with pytest.raises(UserError, match=f"^--{name}: expected"):
        from_values({name: {"full": [1]}})


@pytest.mark.parametrize("name", [name for name, facts in OPTIONS.items() if not facts["per_phase"]])
def test_other_options_do_not(name):
    with pytest.raises(UserError, match=f"^--{name}: "):
        from_values({name: {"full": some_value(name)}})


# --- flags


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "5", 5.0),
        ("epochs", " 0.5 ", 0.5),
        ("epochs", "head:5,full:8", {"head": 5.0, "full": 8.0}),
        ("epochs", "head:5", {"head": 5.0}),
        ("batch_size", "full : 16", {"full": 16}),
        ("optimizer", "adamw(weight_decay=0.1, beta_1=0.8)", "adamw(weight_decay=0.1, beta_1=0.8)"),
        ("regularizer", "head:l2(1e-3), full:l2sp(0.1, 0.01)", {"head": "l2(1e-3)", "full": "l2sp(0.1, 0.01)"}),
        ("dataset", "folder(path=/data/head:5,full:8)", "folder(path=/data/head:5,full:8)"),
        ("unfreeze", "stage[45]", "stage[45]"),
        ("seed", "7", 7),
    ],
)
def test_texts_of_flags_become_values(name, text, value):
    found = parse_option(name, text)
    assert found == value and type(found) is type(value)
    from_values({name: found})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "many", "--epochs: expected a number, got 'many'"),
        ("batch_size", "1.5", "--batch_size: expected a whole number, got '1.5'"),
        ("batch_size", "", "--batch_size: expected a whole number, got ''"),
        ("epochs", "head:many", "--epochs: expected a number, got 'many'"),
        ("epochs", "head:5,8", r"--epochs='head:5,8': expected PHASE:VALUE,... with PHASE one of source, head, full"),
        ("epochs", "head:5,fall:8", "expected PHASE:VALUE"),
        ("epochs", "heda:5", "--epochs='heda:5': expected PHASE:VALUE"),
        ("epochs", "5:3", "--epochs: expected a number, got '5:3'"),
        ("epochs", "fall:8", "expected PHASE:VALUE"),
        ("layer_decay", "full:0.5", "--layer_decay: expected a number, got 'full:0.5'"),
    ],
)
def test_texts_that_are_no_values_are_told(name, text, message):
    with pytest.raises(UserError, match=message):
        parse_option(name, text)


def test_every_default_is_a_text_that_a_flag_takes():
    for name, (_, field) in option_fields().items():
        if field.default is not None:
            assert parse_option(name, str(field.default)) == field.default


# --- the run directory


@pytest.mark.parametrize(
    ("values", "folder"),
    [
        ({}, "runs/cifar10-resnet50"),
        ({"run_dir": "here/there"}, "here/there"),
        ({"dataset": "digits", "backbone": "mobilenet(alpha=0.25)"}, "runs/digits-mobilenet-alpha-0.25"),
        ({"dataset": "../../up"}, "runs/..-..-up-resnet50"),
        ({"dataset": "folder(path=/a b/ü)"}, "runs/folder-path--a-b-ü--resnet50"),
    ],
)
def test_run_directory_is_named_after_what_is_transferred(values, folder):
    assert from_values(values).run_dir == folder


def test_long_names_are_cut():
    name = from_values({"dataset": "d" * 300}).run_dir.removeprefix("runs/")
    assert name == "d" * 80


def test_training_phases_are_those_of_the_plan():
    assert TRAINED == ("source", "head", "full", "scratch")
    assert {f.name for f in dataclasses.fields(Training)} <= set(OPTIONS)


def test_older_names_of_options_stay():
    assert from_values({"image_size": 96}) == from_values({"input_size": 96})
    recorded = {"model": {"backbone": "vgg16", "image_size": 64}, "run": {"seed": 3, "gone": 1}}
    assert flatten(recorded) == {"backbone": "vgg16", "input_size": 64, "seed": 3}
    with pytest.raises(UserError, match="--image_size is the older name of --input_size: give one of the two"):
        from_values({"image_size": 96, "input_size": 64})
