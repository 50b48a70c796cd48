"""How answers are written, and what of a command line cannot be."""

import csv
import importlib.util
import io
import json
import re
import tracemalloc

import pytest
from pyarrow import parquet

from tf_transfer.errors import UserError
from tf_transfer.serving import Prediction, files
from tf_transfer.serving.files import formats

MADE = [
    Prediction('a,"b".png', "x\ny", 0.75, {"x\ny": 0.75, "ü": 0.25}),
    Prediction("caf\udce9.png", "ü", 0.625, {"ü": 0.625, "x\ny": 0.375}),
    Prediction("c.png", "", 0.0, {}, "damaged"),
]


def written(write, made, top=None):
    stream = io.BytesIO()
    write(made, stream, top)
    return stream.getvalue()


def test_csv():
    rows = list(csv.reader(io.StringIO(written(formats.write_csv, MADE).decode(), newline="")))
    assert rows == [
        ["file", "label", "probability", "error"],
        ['a,"b".png', "x\ny", "0.750000", ""],
        ["caf\\udce9.png", "ü", "0.625000", ""],
        ["c.png", "", "", "damaged"],
    ]
    rows = list(csv.reader(io.StringIO(written(formats.write_csv, MADE, 2).decode(), newline="")))
    assert rows[0] == ["file", "label_1", "probability_1", "label_2", "probability_2", "error"]
    assert rows[2] == ["caf\\udce9.png", "ü", "0.625000", "x\ny", "0.375000", ""]
    assert rows[3] == ["c.png", "", "", "", "", "damaged"]


def test_jsonl():
    lines = written(formats.write_jsonl, MADE).decode().splitlines()
    expected = [p.__dict__ for p in MADE]
    assert [json.loads(line) for line in lines] == [*expected[:2], expected[2] | {"probability": None}]
    lines = [json.loads(line) for line in written(formats.write_jsonl, MADE, 2).splitlines()]
    assert lines[1]["top"] == [{"label": "ü", "probability": 0.625}, {"label": "x\ny", "probability": 0.375}]
    assert lines[2] == {"file": "c.png", "label": "", "probability": None, "error": "damaged", "top": []}


@pytest.mark.parametrize("top", [None, 2])
def test_parquet_is_the_table_of_the_csv(top):
    table = parquet.read_table(io.BytesIO(written(formats.write_parquet, MADE, top)))
    rows = list(csv.reader(io.StringIO(written(formats.write_csv, MADE, top).decode(), newline="")))
    assert table.column_names == rows[0]
    shown = {float: "{:.6f}".format, str: str, type(None): lambda nothing: ""}
    told = [[shown[type(v)](v) for v in row.values()] for row in table.to_pylist()]
    assert told == rows[1:]
    assert parquet.read_table(io.BytesIO(written(formats.write_parquet, [], top))).column_names == rows[0]


@pytest.mark.parametrize("ending", formats.FORMATS)
def test_what_was_predicted_before_is_written_over(tmp_path, ending):
    for content in (written(formats.FORMATS[ending], MADE), b""):
        (tmp_path / f"o{ending}").write_bytes(content)
        formats.check(tmp_path / f"o{ending}")


@pytest.mark.parametrize("ending", formats.FORMATS)
def test_no_format_holds_all_predictions(tmp_path, ending):
    made = (Prediction(f"{i:060d}.png", "x", 0.5, {"x": 0.5}) for i in range(60_000))
    with (tmp_path / "out").open("wb") as stream:
        formats.FORMATS[ending](MADE[:1], io.BytesIO(), None)
        tracemalloc.start()
        formats.FORMATS[ending](made, stream, None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "out").stat().st_size > 300_000 and peak < 15e6


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"inputs": None}, "--phase=predict: say which files with --inputs="),
        ({"output": "a.txt"}, "--predictions='a.txt': expected a name that ends in .csv, .jsonl, .parquet"),
        ({"output": "d.csv"}, "--predictions='d.csv' is a folder"),
        ({"output": "mine.csv"}, "--predictions='mine.csv' is there already, and holds no predictions: remove it"),
        ({"output": "list.csv", "inputs": "a.png, list.csv"}, "--predictions='list.csv' is what --inputs names"),
        ({"top": "0"}, "--top=0: expected a whole number from 1 up"),
        ({"top": "1.5"}, "--top=1.5: expected"),
        ({"watch": "soon"}, "--watch=soon: expected seconds above 0, or no value"),
        ({"watch": "nan"}, "--watch=nan: expected"),
        ({"watch": "-1"}, "--watch=-1: expected"),
    ],
)
def test_bad_values(tmp_path, monkeypatch, given, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "mine.csv").write_text("name,price\n")
    (tmp_path / "list.csv").write_text("file,label\n")
    with pytest.raises(UserError, match=re.escape(told)):
        files.Asked.parse(**({"inputs": "in", "output": "out.csv", "top": None, "watch": None} | given))


def test_parquet_without_its_package(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name))
    with pytest.raises(
        UserError, match=r"Parquet needs pyarrow: pip install pyarrow, or in .*'\.\[parquet\]'; or name a \.csv"
    ):
        files.Asked.parse("in", "out.parquet", None, None)
