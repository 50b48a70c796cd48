"""Tables for the terminal: their values, their columns, and names that could break either."""

import unicodedata

from tf_transfer.report import tables


def test_comparison_rows_are_the_records(full_records):
    rows = tables.comparison_table(full_records)
    assert [r["model"] for r in rows] == ["source", "head", "full", "scratch"]
    metrics = {r["model"]: r["metrics"] for r in full_records if r["kind"] == "evaluation"}
    assert all(row["accuracy"] == metrics[row["model"]]["accuracy"] for row in rows)
    assert [r["trained_parameters"] for r in rows] == [None, 2570, 218_410, 218_410]
    assert [r["seconds"] for r in rows] == [None, 98.4, 512.0, 640.2]
    assert {r["split"] for r in rows} == {"test"}


def test_comparison_of_nothing_is_a_header():
    assert tables.comparison_table([]) == []
    assert len(tables.format_table([]).splitlines()) == 2


def test_table_shows_values_intervals_and_gaps():
    estimate = {"value": 0.8804, "low": 0.8733, "high": 0.8861}
    row = {"model": "full", "what": "x", "split": "test", "accuracy": estimate, "macro_f1": estimate}
    row |= {"nll": {"value": float("nan")}, "ece": None, "trained_parameters": 218_410, "seconds": 12.345}
    header, _, line = tables.format_table([row]).splitlines()
    assert header.split("  ")[0] == "model"
    assert "test accuracy (95 % interval)" in header
    assert " ".join(line.split()) == "full x 88.0 % (87.3 - 88.6) 0.880 - - 218,410 12.3"


def test_class_table_in_label_order_or_the_worst_first():
    classes = [
        {"name": f"c{i}", "precision": 0.5, "recall": 0.5, "f1": (7 * i % 30) / 30, "support": i + 1} for i in range(30)
    ]
    few = tables.metrics_table({"per_class": classes[:20]}).splitlines()[2:]
    assert [line.split()[0] for line in few] == [f"c{i}" for i in range(20)]
    many = tables.metrics_table({"per_class": classes}).splitlines()
    f1 = [float(line.split()[3]) for line in many[2:-1]]
    assert f1 == [round(i / 30, 3) for i in range(20)]
    assert many[-1] == "(10 more classes with a higher F1)"
    # Older records say 0 where nothing is known.
    untested = [{"name": "x", "precision": None, "recall": None, "f1": None, "support": 0}]
    untested += [{"name": "y", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}]
    told = tables.metrics_table({"per_class": classes[:2] + untested}).splitlines()
    assert [line.split(maxsplit=4)[1:] for line in told[-2:]] == [["-", "-", "-", "never tested"]] * 2
    many = tables.metrics_table({"per_class": untested + classes}).splitlines()
    assert float(many[2].split()[3]) == 0.0 and many[2].startswith("c0 ")
    assert many[-1] == "(10 more classes with a higher F1, 2 never tested)"


def test_copies_stand_beside_the_figure_without_them():
    without = {"copies": 38, "value": 0.75, "low": 0.7, "high": 0.8, "n": 1200}
    told = tables.copies({"n": 1238, "without_copies": without}, "pictures").replace("\N{NO-BREAK SPACE}", " ")
    assert told == (
        "38 of the 1,238 test pictures are copies of training ones; without them it is right on 75.0 % (70.0 % to "
        "80.0 %) of 1,200."
    )
    assert "says nothing about new pictures" in tables.copies({"n": 38, "without_copies": {"copies": 38}}, "pictures")
    assert tables.copies({"n": 38}, "pictures") is None


def test_hostile_names_keep_the_columns_and_the_terminal(build_records, hostile_names):
    metrics = build_records(hostile_names, phases=("head",), n=100)[-3]["metrics"]
    lines = tables.metrics_table(metrics).splitlines()
    assert len(lines) == 2 + len(hostile_names)
    assert all(c.isprintable() for line in lines for c in line)
    wide = [sum(unicodedata.east_asian_width(c) in "WF" for c in line) for line in lines]
    assert any(wide)
    assert len({len(line) + w for line, w in zip(lines, wide, strict=True)}) == 1


def test_artefacts_stand_beside_the_saved_model():
    latency = {str(b): {"low": b / 1e3, "value": 1.5 * b / 1e3, "high": 2 * b / 1e3} for b in (1, 32)}
    parity = {"argmax_agreement": 1.0, "max_probability_difference": 2e-7}
    export = {"precision": "float32", "bytes": 1_300_000, "latency": latency, "parity": parity}
    export["accuracy"] = {"value": 0.762, "low": 0.732, "high": 0.789}
    original = {"argmax_agreement": 0.925, "max_probability_difference": 0.26}
    original["accuracy"] = {"value": 0.762, "low": 0.732, "high": 0.789}
    accuracy = {"value": 0.756, "low": 0.726, "high": 0.783}
    made = {"target": "litert_int8", "precision": "int8", "bytes": 310_000, "latency": latency}
    rows = tables.artefact_rows(export, [made | {"accuracy": accuracy, "original": original}])
    header, _, saved, int8 = tables.artefact_table(rows).splitlines()
    assert header.split("  ")[0] == "artefact" and "ms, batch 32" in header
    assert " ".join(saved.split()) == "saved_model float32 1.30 1.5 48.0 76.2 % (73.2 - 78.9) 100.00 % 2e-07"
    assert " ".join(int8.split()) == "litert_int8 int8 0.31 1.5 48.0 75.6 % (72.6 - 78.3) 92.50 % 0.3"
    # In another precision it equals its own weights, and what was measured only nearly.
    other = export | {"precision": "bfloat16", "parity": parity | {"original": original}, "accuracy": accuracy}
    (saved, _) = tables.artefact_rows(other, [made | {"accuracy": accuracy, "original": original}])
    assert (saved["same_class"], saved["difference"], saved["accuracy"]) == (0.925, 0.26, accuracy)
    assert tables.artefact_rows(export, []) == [] == tables.artefact_rows({}, [])
