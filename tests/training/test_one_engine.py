"""One training engine: a second gradient tape would be a second one."""

from pathlib import Path

import tf_transfer

PACKAGE = Path(tf_transfer.__file__).parent


def test_there_is_one_gradient_tape_in_the_package():
    found = {
        str(path.relative_to(PACKAGE)): path.read_text("utf-8").count("GradientTape") for path in PACKAGE.rglob("*.py")
    }
    assert {name: count for name, count in found.items() if count} == {"training/step.py": 1}


def test_no_module_trains_past_the_engine():
    """Keras would bring loops of its own."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        for other in (".fit(x=", "model.fit(", ".train_on_batch(", "train_step(", "apply_gradients("):
            assert other not in text, f"{path}: {other}"
