"""Which model is exported: by the results of validation that phases kept, and by `--export_phase`."""

import numpy as np
import pytest

from tf_transfer.errors import UserError
from tf_transfer.phases import choice
from tf_transfer.report import summary
from tf_transfer.run.directory import RunDir


class Saved:
    """A classifier that has nothing to save."""

    def save(self, folder):
        """Writes nothing."""


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "run")


def finish(run, phase, right, n=100, digest="d", examples=None):
    """Ends a phase whose model is right on the first `right` of `n` validation examples; None: it kept no results."""
    facts = {"validation_examples": n if examples is None else examples, "split_digest": digest}
    each = None if right is None else {"right": np.arange(n) < right, "loss": np.ones(n)}
    run.finish(phase, Saved(), facts, validated=each)


@pytest.mark.parametrize(
    ("head", "full", "n", "model", "why"),
    [
        (83, 75, 100, "head", "it validates 83.0 % against 75.0 % of full, more than one standard error (3.0 points on "
         "100) apart"),
        (60, 80, 100, "full", "it validates 80.0 % against 60.0 % of head, more than one standard error (4.2 points on "
         "100) apart"),
        (80, 81, 100, "head", "it validates 80.0 % against 81.0 % of full, within one standard error (1.7 points on "
         "100): the simpler one"),
        (80, 80, 100, "head", "it validates 80.0 % against 80.0 % of full, within one standard error (1.4 points on "
         "100): the simpler one"),
        (9, 8, 10, "full", "it validates 80.0 % against 90.0 % of head, within one standard error (14.2 points on 10), "
         "too few to tell: the last one"),
        (9, 2, 10, "head", "it validates 90.0 % against 20.0 % of full, more than one standard error (18.5 points on "
         "10) apart"),
    ],
)  # fmt: skip
def test_validation_chooses(run, head, full, n, model, why):
    finish(run, "head", head, n)
    finish(run, "full", full, n)
    found = choice.choose(run)
    assert found == choice.Choice(model, why, ("head", "full"), decided=True)
    assert choice.told(found) == f"the {model} model: {why}"


def test_an_option_overrides(run):
    finish(run, "head", 83)
    finish(run, "full", 80)
    found = choice.choose(run, "full")
    assert (found.model, found.why) == ("full", "as --export_phase says; it validates 80.0 % against 83.0 % of head")


def test_a_model_alone_is_no_choice(run):
    assert choice.choose(run) is None
    finish(run, "head", 83)
    assert choice.choose(run) == choice.choose(run, "full") == choice.Choice("head", "", ("head",))
    assert choice.decide(run, "auto").model == "head" and run.records() == []


@pytest.mark.parametrize(
    ("head", "full", "why"),
    [
        ({"right": None, "examples": 0},) * 2 + ("there are no validation examples to choose by",),
        # A head that version 0.1.0 trained.
        ({"right": None}, {"right": 50}, "head kept no results of single validation examples"),
        ({"right": 90, "digest": "other"}, {"right": 50}, "they were validated on different examples"),
        # Files that were unreadable for the head.
        ({"right": 80, "n": 95}, {"right": 50}, "they were validated on different examples"),
    ],
)  # fmt: skip
def test_where_validation_cannot_tell_the_last_one_is_taken(run, head, full, why):
    finish(run, "head", **head)
    finish(run, "full", **full)
    found = choice.choose(run)
    assert found == choice.Choice("full", f"the last one trained, as {why}", ("head", "full"))
    # As every report has it without a record; a command that finds all done writes nothing.
    assert choice.decide(run, "auto") == found and run.records() == []
    choice.decide(run, "head")
    choice.decide(run, "auto")
    assert [r["model"] for r in run.records()] == ["head", "full"]


def test_what_is_not_trained_is_not_exported(run):
    finish(run, "head", 83)
    with pytest.raises(UserError, match=r"--export_phase=full: .* has no model of that phase; run --phase=full first"):
        choice.check(run, "full")
    choice.check(run, "full", ["full", "export"])
    choice.check(run, "auto")
    choice.check(run, "head")


def test_a_choice_is_recorded_once_and_again_where_it_changes(run):
    finish(run, "head", 60)
    finish(run, "full", 80)
    for asked in ("auto", "auto", "head", "head", "auto"):
        choice.decide(run, asked)
    assert [r["model"] for r in run.records("choice")] == ["full", "head", "full"]
    assert summary.chosen(run.records())["candidates"] == ["head", "full"]
    # Trained again, there is nothing to choose from that record.
    run.record("plan", phase="head")
    assert summary.chosen(run.records()) == {}


def test_damaged_results_are_told(run):
    finish(run, "head", 60)
    finish(run, "full", 80)
    (run.path / "full/validation.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"validation.npz is damaged .*train full again with --restart"):
        choice.choose(run)
