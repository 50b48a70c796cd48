"""The dry run: what a run would do and cost, from the same code that does it, and nothing left behind."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tools

from tf_transfer import api
from tf_transfer.console import Console
from tf_transfer.data import tfds_directory
from tf_transfer.data.sources import open_source
from tf_transfer.modalities import base
from tf_transfer.phases import dry_run
from tf_transfer.run import directory
from tf_transfer.session.session import Session


def show(names, capsys, **options):
    config, run = api.open_run(tools.TINY | {"run_dir": "run"} | options, names, write=False)
    dry_run.show(Session(config, frozenset(options), run, Console()), names)
    printed = capsys.readouterr().out
    assert not Path("run").exists()
    return printed


def test_a_dry_run_tells_what_the_run_then_does(tmp_path_factory, tmp_path):
    made = tools.tiny_run(tmp_path_factory)
    shutil.copytree(made, "run")
    before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
    # Also with --restart and another option, which would start the run over.
    options = tools.flags(**tools.TINY, run_dir="run", seed=9)
    done = tools.run_py("--phase=all", "--dry_run", "--restart", *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()} == before
    for stage in ("data", "model", "training", "run", "device", "memory"):
        assert re.search(rf"^{stage} ", done.stdout, re.MULTILINE)
    assert "backbone=small_resnet" in done.stdout
    assert "seed=9" in done.stdout
    for record in directory.RunDir("run").records("plan"):
        trained, total = (f"{record['parameters'][k]:,}" for k in ("trained", "total"))
        assert re.search(rf"^{record['phase']} +{trained} of {total} parameters train", done.stdout, re.MULTILINE)
        shown = "  ".join(f"{k}={v}" for k, v in record["plan"].items() if v != "")
        assert shown in done.stdout
    once, steps = re.findall(r"about \d+:\d\d: (30 training pictures .*)", done.stdout)
    # Digits are not mirrored: one view.
    assert re.fullmatch(r"30 training pictures and 10 validation pictures once .*, [\d,]+/s", once)
    assert re.fullmatch(r"30 training pictures in \d+ epochs, [\d,]+/s", steps)
    assert float(re.search(r"peak of this process ([\d.]+) GB", done.stdout)[1]) > 0.1


def test_what_validation_will_choose_between_is_told_and_counted(capsys):
    source = {"weights": "source", "source_dataset": "rendered_digits(n=200)", "backbone": "small_resnet(width=4)"}
    printed = show(["full"], capsys, **source, epochs={"full": 10.0})
    rates = re.search(
        r"chooses after 20% of the epochs: bn=train learning_rate=(\S+) or bn=frozen learning_rate=(\S+)", printed
    )
    assert float(rates[1]) == pytest.approx(5 * float(rates[2]), rel=1e-4)
    assert "30 training pictures in 12 epochs" in printed and "epochs=10.0" in printed


def test_without_the_data_sizes_are_assumed(capsys, monkeypatch):
    """As with the flagship's defaults on a machine that has nothing yet."""
    monkeypatch.setattr(tfds_directory, "network_answers", lambda urls: False)
    printed = show(["evaluate"], capsys, dataset="mnist", data_dir="nowhere", examples_per_class=None)
    assert printed.count("note     The data set 'mnist' is not in ") == 1
    assert printed.count(" (assumed: the data is not here): 45,000 training pictures in ") == 2
    assert re.findall(r"^(head|full) ", printed, re.MULTILINE) == ["head", "full"]


def test_a_dry_run_without_the_weights_does_not_take_the_network_for_a_folded_one(capsys):
    printed = show(["full"], capsys, weights="imagenet", backbone="mobilenet(alpha=0.25)", image_size=32)
    assert "bn=train" in printed


def test_a_data_set_that_is_mistaken_is_not_assumed(capsys):
    with pytest.raises(api.UserError, match="expected a folder of class folders"):
        show(["head"], capsys, dataset="folder(path=nowhere)")


def test_a_source_phase_is_measured_on_its_own_data(capsys):
    classes = np.bincount(open_source("digits", base.find("image")).labels("train"))
    validating = [round(0.25 * n) for n in classes]
    printed = show(["source", "head"], capsys, source_dataset="digits", weights="source", examples_per_class=5)
    assert re.findall(r": (\d+) training", printed) == [str(1000 - sum(validating)), str(10 * (5 - 1))]
    assert re.findall(r"^(source|head|full) +([\d,]+) of", printed, re.MULTILINE) == [
        ("source", "78,042"),
        ("head", "650"),
    ]


def test_a_wrong_option_is_told_by_a_dry_run_too(capsys):
    with pytest.raises(api.UserError, match="Unknown --optimizer 'sgdd'"):
        show(["full"], capsys, optimizer="sgdd")


def test_an_assessment_is_told_by_its_trainings_and_its_time(capsys):
    printed = show(["assess"], capsys, assess_budget=500.0, examples_per_class=16, source_dataset="rendered_digits")
    assert re.search(r"^assess +8:20:00 by --assess_budget, 120 training pictures$", printed, re.MULTILINE)
    assert "heads; full, scratch, random head on all labels; full, scratch on 5 labels a class;" in printed
    assert "10 trainings with other seeds" not in printed and "14 trainings with other seeds" in printed
    assert "distance to rendered_digits, the 15 corruptions of up to 1,000 pictures" in printed
    # No phase was asked for beside it.
    assert not re.search(r"^(head|full) ", printed, re.MULTILINE)


def test_an_assessment_in_little_time_and_without_the_data(capsys, monkeypatch):
    monkeypatch.setattr(tfds_directory, "network_answers", lambda urls: False)
    options = {"dataset": "mnist", "data_dir": "nowhere", "examples_per_class": None, "assess_budget": 0.1}
    printed = show(["head", "assess"], capsys, **options)
    assert "0:06 by --assess_budget, 45,000 training pictures (assumed: the data is not here)" in printed
    assert "features of " in printed and "no time for full on all labels" in printed


def test_what_an_assessment_does_not_take_is_told_by_a_dry_run_too(capsys):
    for options, message in (
        ({"shifted": "x"}, "expected name:spec"),
        ({"backbones": "vgg16"}, "nothing was pretrain"),
    ):
        with pytest.raises(api.UserError, match=message):
            show(["assess"], capsys, **options)
