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
        {"name": f"c{i}", "precision": 0.5, "recall": 0.5, "f1": (7 * i % 30) / 30, "support": i} for i in range(30)
    ]
    few = tables.metrics_table({"per_class": classes[:20]}).splitlines()[2:]
    assert [line.split()[0] for line in few] == [f"c{i}" for i in range(20)]
    many = tables.metrics_table({"per_class": classes}).splitlines()
    f1 = [float(line.split()[3]) for line in many[2:-1]]
    assert f1 == [round(i / 30, 3) for i in range(20)]
    assert many[-1] == "(10 more classes with a higher F1)"


def test_hostile_names_keep_the_columns_and_the_terminal(build_records, hostile_names):
    metrics = build_records(hostile_names, phases=("head",), n=100)[-3]["metrics"]
    lines = tables.metrics_table(metrics).splitlines()
    assert len(lines) == 2 + len(hostile_names)
    assert all(c.isprintable() for line in lines for c in line)
    wide = [sum(unicodedata.east_asian_width(c) in "WF" for c in line) for line in lines]
    assert any(wide)
    assert len({len(line) + w for line, w in zip(lines, wide, strict=True)}) == 1
