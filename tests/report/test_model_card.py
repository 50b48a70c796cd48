"""The model card as Markdown: names stay in their place, and are as they are."""

import pytest

from tf_transfer.modalities import base
from tf_transfer.report import model_card


@pytest.mark.parametrize(
    ("name", "shown"),
    [("R&B <x>", "`R&B <x>`"), ("a`b", "`a'b`"), ("two\nlines", "`two lines`"), ("| cell", "`| cell`")],
)
def test_a_name_between_backticks(name, shown):
    assert model_card.as_code(name) == shown


def test_what_validation_chose_is_told(full_records, config):
    end = next(r for r in full_records if (r["kind"], r.get("phase")) == ("phase_end", "full"))
    end["race"] = {"text": "BatchNorm statistics: frozen (validation 0.853) against trained (0.797)"}
    export = next(r for r in full_records if r["kind"] == "export")
    export |= {"model": "full", "precision": "float32", "image_size": 96, "weights": "a digest"}
    export["accuracy"] = {"value": 0.9, "low": 0.8, "high": 0.95}
    card = model_card.build(full_records, config, export, "run.py", base.find("image"))
    assert [phase["race"] for phase in card["phases"].values()].count(end["race"]["text"]) == 1
    lines = model_card.markdown(card).splitlines()
    told = lines.index(f"full: {end['race']['text']}.")
    assert lines[told - 1] == "" and lines[told + 1] == ""
