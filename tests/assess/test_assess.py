"""An assessment from start to end on a small network: blocks, records, resumption, and what it refuses.

What needs the whole assessment is `large`: tests/modalities/test_contract.py takes a short one through its blocks.
"""

import functools
import json
import re
import types

import numpy as np
import pytest
import tools

from tf_transfer import api
from tf_transfer.assess import assessment, forecast, shift
from tf_transfer.console import Console, Nowhere
from tf_transfer.data.sources import open_source
from tf_transfer.errors import UserError
from tf_transfer.modalities import base
from tf_transfer.report import page, summary
from tf_transfer.session.session import Session

OPTIONS = tools.TINY | {
    "examples_per_class": 16,
    "source_dataset": "rendered_digits",
    "weights": "source",
    "epochs": {"source": 0.2, "full": 1, "scratch": 1},
    "assess_budget": 0.9,
    "shifted": "drawn:rendered_digits",
}


# By the clock of the test: seconds of each reading of the clock, and of what the console announces. There is time for
# seven trainings, which are all of the first seed, and for corruptions of a few pictures.
READING = 0.03
TAKEN = {r"left  training \d+ of": 4.4, r"left  the test pictures": 12.0}


class Time(Nowhere):
    """A clock that does not depend on the machine; as the console's stream it hears what begins."""

    def __init__(self):
        self.now = 0.0

    def read(self):
        self.now += READING
        return self.now

    def write(self, text):
        self.now += sum(seconds for what, seconds in TAKEN.items() if re.search(what, text))


@pytest.fixture(scope="module")
def assessed(tmp_path_factory):
    folder, time = tmp_path_factory.mktemp("assessed") / "run", Time()
    api.fine_tune(**OPTIONS, run_dir=folder, phases="source", quiet=True)
    options = OPTIONS | {"run_dir": str(folder)}
    config, run = api.open_run(options, ["assess"])
    assessment.assess(Session(config, frozenset(options), run, Console(time)), time.read)
    result = api.fine_tune(**OPTIONS, run_dir=folder, phases="report", quiet=True)
    assert result.assessment["verdict"]["advice"] and result.metrics == {}
    return folder


@pytest.fixture(scope="module")
def record(assessed):
    return [r for r in records(assessed) if r["kind"] == "assessment"][-1]


def records(run):
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


@pytest.mark.large
def test_every_block_is_there_with_its_controls(record):
    blocks = record["blocks"]
    assert set(blocks) == {"outcome", "gain", "forecast", "distance", "drift", "shift", "trust", "latency"}
    kinds = blocks["outcome"]["kinds"]
    assert set(kinds) == {"blind guess", "head", "full", "scratch", "random head"}
    assert kinds["full"]["accuracy"]["test"]["n"] == record["n"]["test"] == 797
    assert blocks["gain"]["labels"] == [1, 5, 16] and all(blocks["gain"]["gain"])
    assert set(blocks["distance"]["distances"]) == {"source", "drawn", "within the target"}
    forecasts = blocks["forecast"]["candidates"]["small_resnet"]["forecasts"]
    assert set(forecasts) == {*forecast.FORECASTS, *forecast.OF_SOURCE}
    assert np.shape(blocks["shift"]["corruptions"]["kinds"]["full"]["accuracy"]) == (15, 5)
    assert blocks["drift"]["stages"] and blocks["drift"]["retention"]["before"]["n"] == 1000
    assert set(blocks["drift"]["interpolation"]["accuracy"]) == {"test", "validation", "drawn"}
    assert blocks["trust"]["temperature"] and set(blocks["trust"]["sets"]) == {"test", "drawn", "corrupted"}
    assert record["verdict"]["advice"] and record["verdict"]["rule"]


@pytest.mark.large
def test_what_there_was_no_time_for_is_told_and_nothing_else(record):
    left_out = [o["what"] for o in record["left_out"]]
    assert left_out[0] == "all but 864 of the 1,200 drawn pictures"
    whole = [f"{kind}, all labels" for kind in ("full", "scratch", "random head")]
    few = [f"{kind}, {number} a class" for number in (5, 1) for kind in ("full", "scratch")]
    assert left_out[1:] == [f"{trial}, seed {seed}" for seed in (1, 2) for trial in (*whole, *few)]
    # Each shifted set would be predicted by all models, and most of the corruptions' time is theirs, too.
    assert 30 <= record["blocks"]["shift"]["corruptions"]["n"] < 100


@pytest.mark.large
def test_every_estimate_carries_its_interval_and_its_number(record):
    def check(value, path=""):
        if isinstance(value, dict):
            # The source's own distance is told with the largest of several.
            assert "value" not in value or {"low", "high"} <= set(value) or "largest" in value, (path, value)
            if "low" in value and value.get("value") is not None and value["low"] is not None:
                high = value["high"] if value["high"] is not None else np.inf
                assert value["low"] - 1e-9 <= value["value"] <= high + 1e-9 or "mmd" in path, (path, value)
            for name, inner in value.items():
                check(inner, f"{path}/{name}")
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                check(inner, f"{path}/{i}")

    check(record["blocks"])
    for estimate in record["blocks"]["trust"]["estimates"]:
        assert estimate["accuracy_interval"][0] <= estimate["accuracy"] <= estimate["accuracy_interval"][1]
        assert estimate["estimate_interval"][0] <= estimate["estimate_interval"][1] and estimate["n"]


@pytest.mark.large
def test_the_test_pictures_are_read_once_and_after_all_training(assessed, record):
    kinds = [r["kind"] for r in records(assessed)]
    assert kinds.count("test_read") == 1 and kinds.index("test_read") < kinds.index("assessment")
    trained = [p.stat().st_mtime for p in assessed.glob("assess/trials/*/*/done.json")]
    assert trained and max(trained) < (assessed / "assess/result/done.json").stat().st_mtime


@pytest.mark.large
def test_the_accuracies_are_those_of_the_predictions_that_are_kept(assessed, record):
    with np.load(assessed / "assess/result/predictions.npz") as arrays:
        labels = arrays["labels test"]
        for kind in {"head", "full", "scratch"} & set(record["blocks"]["outcome"]["kinds"]):
            right = arrays[f"{kind}, all labels, seed 0 test"].argmax(1) == labels
            told = record["blocks"]["outcome"]["kinds"][kind]["accuracy"]["test"]
            if told["seeds"] == 1:
                assert told["value"] == pytest.approx(right.mean())


@pytest.mark.large
def test_the_same_command_again_is_done_already_and_a_lost_result_costs_no_training(assessed, record, capsys):
    options = OPTIONS | {"run_dir": assessed, "phases": ("assess",)}
    api.fine_tune(**options)
    assert "assess  already done" in capsys.readouterr().out
    before = {p: p.stat().st_mtime for p in assessed.glob("assess/trials/*/*/done.json")}
    (assessed / "assess/result/done.json").unlink()
    api.fine_tune(**options | {"assess_budget": 0.1})
    after = {p: p.stat().st_mtime for p in assessed.glob("assess/trials/*/*/done.json")}
    assert {p: after[p] for p in before} == before


@pytest.mark.large
def test_the_page_begins_with_the_verdict(assessed, record):
    html = (assessed / "report.html").read_text()
    assert record["verdict"]["advice"] in html and html.index('class="advice"') < html.index("<main>")
    for name in ("outcome", "gain", "forecast", "shift", "trust", "distance", "drift"):
        assert f'id="assess-{name}"' in html, name
    assert not re.search(r"\bnan\b", html, re.IGNORECASE)


def test_a_page_of_an_assessment_that_left_everything_out():
    """With the least that a record holds."""
    least = {
        "kind": "assessment", "split": "validation", "n": {"validation": 10}, "left_out": [{"what": "a", "why": "b"}],
        "verdict": {"advice": "undecided", "rule": "no time", "numbers": {}, "labels": None},
        "blocks": {
            "outcome": {"split": "validation", "labels": 3, "scale": 1.0, "class_names": ["x"], "pairs": [],
                        "kinds": {"blind guess": {"accuracy": {"validation": {"value": 0.5, "low": 0.3, "high": 0.7,
                                                                              "n": 10, "seeds": 1}}}}},
            "gain": {"labels": [3.0], "curves": {"head": [None]}, "gain": [None], "forecast": None, "needed": []},
            "forecast": {"n": 3, "candidates": {}}, "distance": {}, "drift": {},
            "shift": {"kinds": ["head"], "sets": {}, "corruptions": None}, "trust": {"split": "validation", "sets": {}},
            "latency": {},
        },
    }  # fmt: skip
    html = page.render([least], None, "nothing")
    assert "undecided" in html.lower() and "What was left out" in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shifted": "rendered_digits"}, "expected name:spec"),
        ({"shifted": "a:digits,a:digits"}, "each with a name once|each name once"),
        ({"shifted": "test:digits"}, "expected name:spec"),
        ({"backbones": "resnet5o", "weights": "imagenet", "backbone": "mobilenet(alpha=0.25)"}, "resnet50"),
        ({"backbones": "vgg16", "weights": "random", "image_size": 32}, "with --weights=random nothing was pretrained"),
        ({"backbones": "vgg16", "weights": "source"}, "same kind of weights"),
        ({"assess_budget": 0.0}, "--assess_budget"),
    ],
)
def test_what_it_does_not_take_is_told_before_training(tmp_path, options, message):
    options = tools.TINY | {"run_dir": tmp_path / "run", "phases": ("assess",), "quiet": True} | options
    if options["weights"] == "source":
        options |= {"source_dataset": "rendered_digits", "epochs": 0.05, "phases": ("source", "assess")}
    with pytest.raises(UserError, match=message):
        api.fine_tune(**options)
    assert not list(tmp_path.glob("run/assess/trials/*"))


def test_shifted_sets_of_other_classes_are_refused(tmp_path):
    tools.draw_shapes(tmp_path / "other", 4)
    with pytest.raises(UserError, match="its classes are not those of the target"):
        api.fine_tune(
            **tools.TINY | {"shifted": f"x:{tmp_path / 'other'}"}, run_dir=tmp_path / "run", phases="assess", quiet=True
        )


@pytest.mark.large
def test_every_reading_of_the_test_pictures_is_counted(assessed, record):
    api.fine_tune(**OPTIONS | {"assess_budget": 0.11}, run_dir=assessed, phases="assess", quiet=True)
    times = [r["times"] for r in records(assessed) if r["kind"] == "test_read"]
    assert times == list(range(1, len(times) + 1)) and len(times) > 1


@pytest.mark.large
def test_an_assessed_run_keeps_its_options(assessed, record):
    for name, value in {"seed": 3, "backbone": "vgg16", "examples_per_class": 4}.items():
        with pytest.raises(UserError, match=f"--{name} was"):
            api.open_run(OPTIONS | {"run_dir": str(assessed), name: value}, ["assess"])
    api.open_run(OPTIONS | {"run_dir": str(assessed), "assess_budget": 9.0}, ["assess"])


def test_two_labels_a_class_and_almost_no_time(tmp_path):
    options = tools.TINY | {"examples_per_class": 2, "assess_budget": 0.1}
    api.fine_tune(**options, run_dir=tmp_path / "run", phases=("assess", "report"), quiet=True)
    found = [r for r in records(tmp_path / "run") if r["kind"] == "assessment"][-1]
    left_out = " ".join(o["what"] for o in found["left_out"])
    assert "label-budget curve" in left_out and "knn of small_resnet" in left_out
    # Its weights are random: whatever was measured, there is nothing to transfer, and the page says so.
    assert found["pretrained"] is False and found["verdict"]["advice"] == "do not transfer"
    assert "nothing was pretrained" in found["verdict"]["rule"]
    html = (tmp_path / "run/report.html").read_text()
    assert "weights are random. The rule" in html and "these are scores of random features" in html


def test_an_assessment_goes_with_the_models_it_stands_on():
    def assessment(**models):
        return {"kind": "assessment", "phase": "assess", "asked": {"models": models}}

    plan = {"kind": "plan", "phase": "full"}
    # It had trained its own: what the run trains later is another matter.
    assert summary.latest(summary.current([assessment(full=None), plan]), "assessment")
    assert not summary.latest(summary.current([plan, assessment(full=3.0), plan]), "assessment")
    assert summary.latest(summary.current([plan, assessment(full=3.0)]), "assessment")


def test_of_a_shifted_set_without_a_test_split_all_is_measured(tmp_path):
    tools.draw_shapes(tmp_path / "mine", 10)
    modality = base.find("image")
    datasets = types.SimpleNamespace(open=functools.partial(open_source, modality=modality))
    session = types.SimpleNamespace(datasets=datasets, modality=modality, input_size=32)
    names = ("circle", "square", "triangle")
    found = shift.load(session, {"mine": str(tmp_path / "mine")}, names)
    assert len(found["mine"]) == 30 and found["mine"].inputs.dtype == np.uint8
    assert np.bincount(found["mine"].labels).tolist() == [10, 10, 10]


@pytest.mark.large
def test_a_folder_without_a_test_split_on_two_replicas(tmp_path):
    """One is set aside, which nothing trains on, and every network runs on both devices."""
    tools.draw_shapes(tmp_path / "mine", 20, 32)
    options = {"dataset": tmp_path / "mine", "backbone": "small_resnet", "weights": "random", "precision": "float32"}
    api.fine_tune(
        **options, strategy="mirrored", assess_budget=0.12, run_dir=tmp_path / "run", phases="assess", quiet=True
    )
    found = [r for r in records(tmp_path / "run") if r["kind"] == "assessment"][-1]
    # Files are split by their contents: about a fifth of them.
    n = found["n"]["test"]
    assert found["device"]["replicas"] == 2 and found["split"] == "test" and 10 <= n <= 14
    assert found["blocks"]["outcome"]["kinds"]["head"]["accuracy"]["test"]["n"] == n
    (noted,) = [r for r in records(tmp_path / "run") if r["kind"] == "data"]
    assert f"There is no test split: {n} of 60 examples" in noted["notes"]["splits"][0]
