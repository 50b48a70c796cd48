"""Which records hold after phases were run again, and which models they compare."""

from tf_transfer.report import summary


def plan(phase):
    return {"kind": "plan", "phase": phase}


def epoch(phase, number, loss=0.0):
    return {"kind": "epoch", "phase": phase, "epoch": number, "train_loss": loss}


def evaluation(model, split="test", value=0.5):
    return {"kind": "evaluation", "phase": "evaluate", "model": model, "split": split,
            "metrics": {"accuracy": {"value": value}}}  # fmt: skip


def test_a_phase_run_again_starts_its_curve_anew():
    records = [plan("head"), epoch("head", 1, 9.0), epoch("head", 2, 9.0), plan("head"), epoch("head", 1, 1.0)]
    assert summary.epochs(records) == {"head": [records[-1]]}
    assert summary.epochs(records[:4]) == {}


def test_an_epoch_recorded_twice_counts_once():
    records = [plan("head"), epoch("head", 2, 1.0), epoch("head", 1, 2.0), epoch("head", 2, 3.0)]
    assert [r["train_loss"] for r in summary.epochs(records)["head"]] == [2.0, 3.0]


def test_a_model_trained_again_loses_its_evaluation_and_what_was_built_on_it():
    done = [plan("source"), plan("head"), plan("full"), plan("scratch"), *map(evaluation, summary.MODELS)]
    comparison = {"kind": "comparison", "a": "full", "b": "scratch"}
    export = {"kind": "export", "model": "full"}
    records = [*done, comparison, export]
    assert list(summary.evaluations(records)) == ["source", "head", "full", "scratch"]
    assert summary.current(records) == records
    assert list(summary.evaluations([*records, plan("scratch")])) == ["source", "head", "full"]
    assert comparison not in summary.current([*records, plan("scratch")])
    assert export in summary.current([*records, plan("scratch")])
    assert list(summary.evaluations([*records, plan("head")])) == ["source", "scratch"]
    assert export not in summary.current([*records, plan("head")])
    assert list(summary.evaluations([*records, plan("source")])) == ["scratch"]
    again = [*records, plan("full"), evaluation("full", value=0.9)]
    assert summary.evaluations(again)["full"]["metrics"]["accuracy"]["value"] == 0.9


def test_a_run_started_over_keeps_only_its_readings_of_the_test_split():
    read = {"kind": "test_read", "n": 10, "times": 1}
    before = [plan("scratch"), evaluation("scratch"), read, {"kind": "warning", "text": "old"}]
    after = [plan("head"), evaluation("head")]
    assert summary.current([*before, {"kind": "start_over"}, *after]) == [read, *after]


def test_models_are_compared_on_the_test_split_if_there_is_one():
    records = [
        evaluation("head", "validation", 0.1),
        evaluation("full", "test", 0.2),
        evaluation("full", "corrupted", 0.3),
    ]
    assert summary.main_split(records) == "test"
    assert list(summary.evaluations(records)) == ["full"]
    assert summary.main_split(records[:1]) == "validation"
    assert summary.main_split([]) == "test"


def test_models_stand_in_their_order_and_the_last_stage_is_the_headline():
    records = [evaluation(m) for m in ("zeta", "scratch", "full", "alpha", "source", "head")]
    evaluated = summary.evaluations(records)
    assert list(evaluated) == ["source", "head", "full", "scratch", "alpha", "zeta"]
    assert summary.headline(evaluated) == "full"
    assert summary.headline({"source": {}, "head": {}}) == "head"
    assert summary.headline({"source": {}, "scratch": {}, "coral": {}}) == "coral"
    assert summary.headline({"source": {}, "scratch": {}}) == "scratch"
    assert summary.headline({}) is None


def test_the_target_has_its_own_data_record():
    target, source = {"kind": "data", "dataset": "usps"}, {"kind": "data", "dataset": "rendered_digits"}
    assert summary.target_data([target, source], "usps") is target
    assert summary.target_data([target, source], None) is source
    assert summary.target_data([{"kind": "data"}], "usps") == {"kind": "data"}
    assert summary.target_data([], "usps") == {}
