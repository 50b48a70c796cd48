"""The blind guess: where it stands, and which figure comes first; in tables, on the page and in the card."""

import numpy as np
import pytest

from tf_transfer.evaluation import blind_guess, score
from tf_transfer.report import control, model_card, page, sections, summary, tables

NAMES = ["daisy", "rose"]


def records(support, hits, counts=(300, 12), names=NAMES):
    """An evaluation that is right on `hits` of the `support` examples of each class, and the blind guess beside it."""
    labels = np.repeat(np.arange(len(support)), support)
    wrong = np.concatenate([np.arange(n) >= right for n, right in zip(support, hits, strict=True)])
    logits = np.eye(len(support))[np.where(wrong, (labels + 1) % len(support), labels)]
    found = blind_guess(np.array(counts), labels)
    return [
        {"kind": "evaluation", "model": "head", "split": "test", "metrics": score(logits, labels, names)},
        {"kind": control.KIND, "split": "test", "class": names[found["label"]], "metrics": found["metrics"]},
    ]


# Worse than always naming the daisy; right on everything; no better than chance; and well above it.
UNEVEN, SURE = records((75, 3), (74, 1)), records((75, 3), (75, 3))
LOST = records((20,) * 4, (5, 6, 5, 6), (9,) * 4, list("abcd"))
EVEN = records((20,) * 4, (19,) * 4, (9,) * 4, list("abcd"))


@pytest.mark.parametrize(
    ("found", "beside", "leading"),
    [(UNEVEN, True, "balanced_accuracy"), (SURE, True, "balanced_accuracy"), (LOST, True, "accuracy"),
     (EVEN, False, "accuracy")],
)  # fmt: skip
def test_it_stands_where_it_says_something(found, beside, leading):
    evaluation, blind = found
    assert control.beside(blind, evaluation) is beside
    assert summary.leading(found) == leading
    assert [r["model"] for r in tables.comparison_table(found)] == ["head", "blind guess"][: 1 + beside]


def test_records_of_before_have_none():
    evaluation, blind = UNEVEN
    old = evaluation | {"metrics": {k: v for k, v in evaluation["metrics"].items() if k != "balanced_accuracy"}}
    assert not control.beside({}, old) and summary.leading([old]) == "accuracy"
    assert control.leading(blind, old) == "accuracy"
    # Of another split it says nothing.
    assert not control.beside(blind, evaluation | {"split": "validation"})


def test_the_table_begins_with_the_balanced_accuracy():
    lines = tables.format_table(tables.comparison_table(UNEVEN), summary.leading(UNEVEN)).splitlines()
    assert (
        lines[0].index("test balanced accuracy (95 % interval)") < lines[0].index("  accuracy") < lines[0].index("mac")
    )
    balanced = 100 * (74 / 75 + 1 / 3) / 2
    assert lines[2].startswith("head") and f" {balanced:.1f} % (" in lines[2] and f" {7500 / 78:.1f} % (" in lines[2]
    assert lines[3].startswith("blind guess  always 'daisy', the most frequent class of training")
    assert " 50.0 % " in lines[3] and " 96.2 % (" in lines[3]


def test_words_say_why():
    assert control.told(UNEVEN[1], "balanced_accuracy") == (
        "always naming 'daisy' is right on 96.2 %: accuracy says little on classes this uneven. Balanced accuracy "
        "comes first, the mean of the classes' recalls: 50.0 % for that answer."
    )
    assert control.told(LOST[1], "accuracy") == "always naming 'a' is right on 25.0 %: measure the accuracy by that."


def test_the_page_and_its_differences_are_of_the_balanced_accuracy():
    full = UNEVEN[0] | {"model": "full", "metrics": records((75, 3), (70, 3))[0]["metrics"]}
    paired = {"kind": "comparison", "split": "test", "a": "full", "b": "head", "p_value": 0.2}
    found = [*UNEVEN, full, paired]
    evaluated = summary.evaluations(found)
    told = sections.headline("full", evaluated, found)
    gain = (70 / 75 + 1) / 2 - (74 / 75 + 1 / 3) / 2
    assert told["gains"][0]["points"] == pytest.approx(gain)
    # McNemar's test is of the accuracy.
    assert "p_value" not in told["gains"][0]
    html = page.render(found, {}, "t", "picture", "pictures")
    assert "Test balanced accuracy, <bdi>full</bdi>" in html and "blind guess" in html
    assert "Bar chart of balanced accuracy: head" in html and "The control: <bdi>always naming" in html


def test_words_follow_the_sign():
    worse = EVEN[0] | {"model": "full", "metrics": records((20,) * 4, (15,) * 4, (9,) * 4, list("abcd"))[0]["metrics"]}
    html = " ".join(page.render([EVEN[0], worse], {}, "t").split())
    assert '<b class="down">20.0</b> <span>points below the new head alone' in html


def test_the_card_begins_with_it_too():
    measured = {"head": {"split": "test", "n": 78} | UNEVEN[0]["metrics"]}
    said = control.told(UNEVEN[1], "balanced_accuracy")
    card = CARD | {"metrics": measured, "headline": "balanced_accuracy", "control": said}
    lines = model_card.markdown(card).splitlines()
    assert "| model | split | n | balanced_accuracy | accuracy | top5 | macro_f1 | nll | brier | ece |" in lines
    assert f"The control: {said}" in lines


CARD = {
    "model": {"name": "head", "what": None, "backbone": "b", "weights": "w", "precision": "float32", "size": "8 px",
              "chosen": None, "classes": NAMES},
    "modality": {"one": "picture", "many": "pictures"},
    "data": {"dataset": "d", "splits": {}, "notes": {}},
    "phases": {}, "calibration": {"n": 0}, "shift": {}, "verdict": None, "limits": [], "license": {}, "versions": {},
    "commands": [], "digests": {},
    "export": {"parity": {"n": 1, "split": "test", "argmax_agreement": 1, "max_probability_difference": 0}, "bytes": 1,
               "signatures": [], "accuracy": {"value": 1, "low": 0, "high": 1}, "latency": {}},
}  # fmt: skip
