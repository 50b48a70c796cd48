"""What a phase that trains says of itself."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tf_transfer.phases import training
from tf_transfer.phases.catalogue import PHASES
from tf_transfer.run.directory import RunDir

FULL = PHASES["full"]
PLAN = {"method": "supervised", "learning_rate": 0.01}
WHOLE = (
    "the whole network validates worse than the head it began from (0.600 against 0.700). With few labels, "
    "--bn=full:frozen, a lower --learning_rate=full:... or --unfreeze of the last stage may do better."
)
OTHER = "full validates worse than the head it began from (0.600 against 0.700)."
LOWER = " A lower --learning_rate=full:... may do better."


@pytest.mark.parametrize(
    ("changed", "plan", "trained", "text"),
    [
        ({}, {}, 100, WHOLE),
        # Trained by --unfreeze of the last stage alone.
        ({}, {}, 10, WHOLE),
        ({}, {"method": "aligned(weight=0.5)"}, 99, WHOLE),
        ({}, {"method": "tent"}, 10, OTHER + LOWER),
        ({}, {"method": "adabn", "learning_rate": 0}, 0, OTHER),
        ({"head_only": True}, {}, 10, OTHER + LOWER),
        ({"head_only": True}, {"learning_rate": 0}, 10, OTHER),
    ],
)
def test_a_phase_that_loses_names_what_it_trained(changed, plan, trained, text):
    row = dataclasses.replace(FULL, **changed)
    assert training.warning(row, 0.7, 0.6, PLAN | plan, {"trained": trained, "total": 100}) == text


def test_a_record_of_before_has_no_method():
    assert training.warning(FULL, 0.7, 0.6, {"learning_rate": 0.01}, {}) == WHOLE


@pytest.mark.parametrize(("n", "warned"), [(100, 1), (95, 0)])
def test_phases_that_validated_on_other_readable_files_are_not_compared(tmp_path, n, warned):
    run, notes = RunDir(tmp_path / "run"), []
    saved = SimpleNamespace(save=lambda folder: None)
    for phase, size, right in (("head", n, 90), ("full", 100, 40)):
        facts = {"validation_examples": size, "validation_accuracy": right / size, "split_digest": "d", "plan": PLAN}
        run.finish(phase, saved, facts, validated={"right": np.arange(size) < right})
    training.warn_if_worse(SimpleNamespace(run=run, console=SimpleNamespace(note=notes.append)), "full")
    assert len(notes) == len(run.records("warning")) == warned
