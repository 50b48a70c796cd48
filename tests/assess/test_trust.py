"""What the model knows of its own mistakes: every set against its own labels, and the estimate without them."""

import types

import numpy as np
import pytest

from tf_transfer.assess import trust
from tf_transfer.assess.clock import Clock
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.shift import CLEAN
from tf_transfer.console import Console, Nowhere
from tf_transfer.data.splits import Split
from tf_transfer.evaluation import calibration
from tf_transfer.modalities.image.corruptions import CORRUPTION, SEVERITIES

RANDOM = np.random.default_rng(0)
CLASSES, NUMBER = 4, 120
SETS = [(CLEAN, 0), ("sets", "phone"), *((name, s) for name in CORRUPTION for s in SEVERITIES)]


def drawn(share):
    """Labels, and logits of which the share is right."""
    labels = RANDOM.integers(0, CLASSES, NUMBER)
    named = np.where(np.arange(NUMBER) < share * NUMBER, labels, (labels + 1) % CLASSES)
    return labels, 3 * np.eye(CLASSES)[named] + RANDOM.uniform(0, 0.5, (NUMBER, CLASSES))


def a_study(validation, test):
    def split(labels):
        return Split(np.zeros((NUMBER, 1, 1, 3), np.uint8), labels, [""] * NUMBER)

    trial = Trial("full")
    return types.SimpleNamespace(
        clock=Clock(1.0, Console(Nowhere())), top=None, seed=0, split="test", many="pictures",
        measured={"validation": split(validation[0]), "test": split(test[0])},
        logits={trial: {"validation": validation[1], "test": test[1]}},
    )  # fmt: skip


def test_every_set_is_held_to_its_own_labels():
    """Each set has labels of its own order: those of any other would be right by chance alone."""
    shares = {name: 0.5 + 0.5 * i / len(SETS) for i, name in enumerate(SETS)}
    sets = {name: drawn(share) for name, share in shares.items() if name[0] not in CORRUPTION}
    # Corrupted pictures are the clean ones in the same order.
    labels = sets[CLEAN, 0][0]
    for name in (n for n in SETS if n[0] in CORRUPTION):
        named = np.where(RANDOM.permutation(NUMBER) < shares[name] * NUMBER, labels, (labels + 1) % CLASSES)
        sets[name] = labels, 3 * np.eye(CLASSES)[named] + RANDOM.uniform(0, 0.5, (NUMBER, CLASSES))
    validation, test = drawn(0.8), drawn(0.9)
    logits, true = ({name: pair[i] for name, pair in sets.items()} for i in (1, 0))
    found = trust.measure(a_study(validation, test), "full", logits, true)
    told = {e["set"]: e for e in found["estimates"]}
    assert set(told) == {"phone", *(f"{name} {s}" for name in CORRUPTION for s in SEVERITIES)}
    for (name, part), share in shares.items():
        if name != CLEAN:
            entry = told[part if name == "sets" else f"{name} {part}"]
            assert entry["n"] == NUMBER and entry["accuracy"] == pytest.approx(np.ceil(share * NUMBER) / NUMBER)
            assert entry["estimate"] == calibration.atc(validation[1], validation[0], logits[name, part])
    assert set(found["sets"]) == {"test", "phone", "corrupted"}
    for name, share in (("test", 0.9), ("phone", shares["sets", "phone"])):
        bins = found["sets"][name]["before"]["reliability"]
        right = sum(a * n for a, n in zip(bins["accuracy"], bins["count"], strict=True) if n)
        assert right == pytest.approx(np.ceil(share * NUMBER))
    assert found["temperature"] == calibration.temperature(validation[1], validation[0])


def test_without_validation_pictures_no_temperature_is_fitted():
    test = drawn(0.9)
    study = a_study(test, test)
    study.split = "validation"
    found = trust.measure(study, "full", {}, {})
    assert found["temperature"] is None and found["estimates"] == [] and set(found["sets"]) == {"validation"}
    assert "after" not in found["sets"]["validation"]
    assert [o["what"] for o in study.clock.left_out] == ["temperature"]
