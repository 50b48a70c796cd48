"""The page as a browser reads it: well-formed, closed, escaped, and whole for any subset of records."""

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tf_transfer.report import page

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Reads a page, checks its nesting and keeps its tags, ids, headings and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text, self.headings, self.scripts = [], [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text.append(data)
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings.append((self.open[-1], data.strip()))

    def words(self):
        return " ".join(" ".join(self.text).replace("\N{NO-BREAK SPACE}", " ").replace("\N{EN DASH}", "-").split())


def check(html):
    """What holds for every page."""
    read = Reader(html)
    assert html.lstrip().startswith("<!DOCTYPE html>")
    assert "http://" not in html and "https://" not in html
    attributes = [(tag, name, value or "") for tag, attrs in read.tags for name, value in attrs.items()]
    for tag, name, value in attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, value[:40])
    policy = next(attrs["content"] for tag, attrs in read.tags if attrs.get("http-equiv"))
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in read.scripts]
    assert re.findall("script-src '(.*?)'", policy) == [f"sha256-{digest}" for digest in digests]
    assert not {tag for tag, _ in read.tags} & {"iframe", "link", "object", "form", "base"}
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {v[1:] for tag, name, v in attributes if tag == "a" and name == "href"} <= set(ids)
    assert all(attrs.get("alt") for tag, attrs in read.tags if tag == "img")
    assert ("html", {"lang": "en"}) in read.tags
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    labelled = [attrs for _, attrs in read.tags if attrs.get("role") in ("img", "region")]
    assert all(attrs.get("aria-label") for attrs in labelled)
    return read


def test_a_complete_run(full_records, config):
    html = page.render(full_records, config, "MobileNet to CIFAR-10", "picture", "pictures")
    words = check(html).words()
    metrics = {r["model"]: r["metrics"] for r in full_records if r["kind"] == "evaluation"}
    full, head = (metrics[m]["accuracy"]["value"] for m in ("full", "head"))
    assert f"Test accuracy, full {100 * full:.1f} %" in words
    assert f"95 % interval {100 * metrics['full']['accuracy']['low']:.1f}-" in words
    assert f"+{100 * (full - head):.1f} points over the new head alone McNemar test" in words
    assert "over training from scratch the two intervals are apart" in words
    assert "mobilenet(alpha=0.25) with imagenet weights, adapted to cifar10 : 45,000 training pictures" in words
    assert "python run.py --flagfile=flags/cifar10.cfg --phase=head,full --run_dir='my run'" in words
    assert "train: cifar10/train#12 = test: cifar10/test#881" in words
    assert "1 test picture also stands in the training data." in words
    assert "2.21.0" in words and "8 min 32 s" in words and "218,410" in words
    assert "model.backbone mobilenet(alpha=0.25)" in words


def test_what_validation_chose_is_told(small_records, config):
    end = next(r for r in small_records if r["kind"] == "phase_end")
    end["race"] = {"text": "BatchNorm statistics: frozen (validation 0.853) against trained (0.797)"}
    words = check(page.render(small_records, config, "t")).words()
    assert f". {end['race']['text']}." in words


def test_the_page_is_a_pure_function(small_records, config):
    assert page.render(small_records, config, "t") == page.render(small_records, config, "t")


def test_sections_and_pictures(full_records, config):
    read = check(page.render(full_records, config, "t", "picture", "pictures"))
    assert [text for tag, text in read.headings if tag == "h2"] == [
        "How the models compare", "How it learned", "Where it is wrong", "How far to trust its confidence",
        "The data", "What was exported", "How to repeat it",
    ]  # fmt: skip
    pictures = [attrs["src"] for tag, attrs in read.tags if tag == "img"]
    full = next(r for r in full_records if r.get("model") == "full")
    assert pictures == [f"data:image/png;base64,{t['png']}" for t in full["top_losses"]]
    assert sum(tag == "svg" for tag, _ in read.tags) == 7


@pytest.mark.parametrize(
    "kind", ["start", "data", "plan", "epoch", "phase_end", "evaluation", "export", "lr_find", "warning"]
)
def test_any_kind_of_record_may_be_missing(kind, small_records, config):
    check(page.render([r for r in small_records if r["kind"] != kind], config, "t", "picture", "pictures"))


@pytest.mark.parametrize(
    "kind", ["start", "data", "plan", "epoch", "phase_end", "evaluation", "export", "lr_find", "warning"]
)
def test_any_kind_of_record_may_be_the_only_one(kind, small_records):
    check(page.render([r for r in small_records if r["kind"] == kind], None, "t"))


def test_records_may_hold_nothing_but_their_kind():
    kinds = [
        "start",
        "data",
        "plan",
        "phase_end",
        "export",
        "artefact",
        "lr_find",
        "warning",
        "evaluation",
        "comparison",
        "test_read",
    ]
    check(page.render([{"kind": k, "phase": "head"} for k in kinds], {}, ""))


def test_nothing_recorded():
    words = check(page.render([], None, "", "picture", "pictures")).words()
    assert "No evaluation yet" in words and "Transfer report" in words


def test_a_head_without_validation(build_records, config):
    records = build_records(phases=("head",), validation=False, n=100)
    words = check(page.render(records, config, "t", "picture", "pictures")).words()
    assert "Test accuracy, head" in words
    assert "over" not in words.split("95 % interval")[1].split("Macro-F1")[0]
    assert "The ring marks" not in words


def test_a_head_that_is_not_evaluated_yet(build_records, config):
    records = [r for r in build_records(phases=("head",), n=100) if r["kind"] != "evaluation"]
    words = check(page.render(records, config, "t", "picture", "pictures")).words()
    assert "No evaluation yet The model of head reached 69.0 % on the validation split." in words


@pytest.mark.parametrize("num_classes", [2, 20, 200])
def test_few_and_many_classes(num_classes, build_records, config):
    records = build_records([f"class {i}" for i in range(num_classes)], phases=("head", "full"), n=600)
    words = check(page.render(records, config, "t", "picture", "pictures")).words()
    assert f"All classes {num_classes}" in words
    assert ("The 20 classes of the most confused pairs, of 200, with counts" in words) == (num_classes > 50)
    assert ("The 20 classes with the lowest F1" in words) == (num_classes > 20)
    assert ("Top-5 accuracy" in words) == (num_classes > 10)


def test_the_table_of_many_classes_can_be_searched(build_records, config):
    few, many = (
        check(page.render(build_records([f"class {i}" for i in range(n)], phases=("head",), n=300), config, "t"))
        for n in (50, 51)
    )
    assert not few.scripts and len(many.scripts) == 1
    (field,) = [attrs for tag, attrs in many.tags if tag == "input"]
    ids = {attrs.get("id") for _, attrs in many.tags}
    assert {field["data-rows"], field["data-told"]} <= ids and field["aria-label"]
    # Without the script nothing asks for a search that would not answer.
    assert ("p", {"class": "search", "hidden": None}) in many.tags
    # Twenty classes of the most confused pairs; no map of all classes.
    assert sum(tag == "svg" for tag, _ in many.tags) == sum(tag == "svg" for tag, _ in few.tags) - 1


def test_many_classes_without_a_mistake_have_no_matrix(build_records, config):
    records = build_records([f"class {i}" for i in range(60)], phases=("head",), n=100)
    metrics = next(r for r in records if r["kind"] == "evaluation")["metrics"]
    metrics["confusion"] = np.diag([c["support"] for c in metrics["per_class"]]).tolist()
    assert "It made no mistake on these" in check(page.render(records, config, "t")).words()


def test_copies_stand_in_the_headline_and_an_untested_class_has_no_figures(build_records, config):
    records = build_records(phases=("head",), n=100)
    metrics = next(r for r in records if r["kind"] == "evaluation")["metrics"]
    metrics["without_copies"] = {"copies": 30, "value": 0.5, "low": 0.4, "high": 0.6, "n": 70}
    metrics["per_class"][0] |= {"precision": None, "recall": None, "f1": None, "support": 0}
    words = check(page.render(records, config, "t", "picture", "pictures")).words()
    assert "30 of the 100 test pictures are copies of training ones; without them it is right on 50.0 %" in words
    assert "- - - never tested" in words and "F1 and recall by class. 1 never tested." in words


def test_the_worst_mistakes_are_mistakes(build_records, config):
    records = build_records(phases=("head",), n=100)
    evaluation = next(r for r in records if r["kind"] == "evaluation")
    # As records of before list them: a hesitant right answer among the mistakes, or nothing else.
    fine = {"name": "fine", "label": "cat", "predicted": "cat", "probability": 0.4, "loss": 0.9}
    wrong = {"name": "wrong", "label": "cat", "predicted": "dog", "probability": 0.9, "loss": 2.3}
    evaluation["top_losses"] = [wrong, fine]
    words = check(page.render(records, config, "t")).words()
    assert "The worst mistakes" in words and "wrong" in words and "fine" not in words
    evaluation["top_losses"] = [fine]
    assert "The worst mistakes" not in check(page.render(records, config, "t")).words()


def test_a_list_of_duplicates_ends_behind_a_name(build_records, config):
    names = [f"garden/daisy/a photograph of number {i}.jpg" for i in range(20)]
    records = build_records(phases=("head",), n=100)
    text = f"38 test pictures also stand among the training ones: {'; '.join(names)}; and 18 more"
    records.append({"kind": "warning", "text": text})
    (shown,) = [part for part in page.render(records, config, "t").split("<bdi>") if part.startswith("38 test")]
    shown = shown.split("</bdi>")[0]
    told = shown.removesuffix(" \N{HORIZONTAL ELLIPSIS}").partition(": ")[2].split("; ")
    assert told == names[: len(told)] and 10 < len(told) < 20


def test_hostile_names_are_shown_and_do_nothing(build_records, hostile_names):
    records = build_records(hostile_names, n=200)
    for r in records:
        if r["kind"] == "evaluation":
            r["top_losses"][0] |= {"name": hostile_names[1], "png": '"><script>alert(4)</script>'}
        if r["kind"] == "warning":
            r["text"] = hostile_names[0]
        if r["kind"] == "start":
            r["command"] = "python run.py --dataset='</code></pre><script>alert(5)</script>'"
    config = {"data": {"dataset": hostile_names[0]}, hostile_names[1]: hostile_names[8]}
    html = page.render(records, config, hostile_names[0])
    read = Reader(html)
    assert "script" not in {tag for tag, _ in read.tags}
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]
    words = read.words()
    assert "<script>alert(1)</script>" in words
    assert "{{ 7 * 7 }}" in words and "49" not in words.split("{{ 7 * 7 }}")[1][:3]
    assert "مرحبا بالعالم" in words
    assert "\u202e" not in html and "\x1b" not in html
    assert max(map(len, words.split())) < 130


def test_a_lost_model_says_so(small_records, config):
    again = [*small_records, {"kind": "plan", "phase": "full", "plan": {}, "parameters": {}}]
    words = check(page.render(again, config, "t", "picture", "pictures")).words()
    assert "Test accuracy, head" in words
    assert "What was exported" in words  # of no named model, so it may still hold


def test_confidence_above_accuracy_is_told(build_records, config):
    records = build_records(phases=("head",), n=100)
    metrics = next(r for r in records if r["kind"] == "evaluation")["metrics"]
    bins = {"edges": [0, 0.5, 1], "count": [0, 100], "confidence": [None, 0.9], "accuracy": [None, 0.7]}
    metrics |= {"reliability": bins, "ece": {"value": 0.2, "low": 0.1, "high": 0.3, "floor": 0.03}}
    words = check(page.render(records, config, "t", "picture", "pictures")).words()
    assert "Its mean confidence lies 20.0 points above its accuracy. Its calibration error is 0.200" in words
    assert "would show about 0.030 by chance" in words


def test_models_and_splits_beyond_the_usual(build_records, config):
    records = build_records(phases=("head",), n=100)
    evaluation = next(r for r in records if r["kind"] == "evaluation")
    extra = [evaluation | {"model": "coral(weight=0.5)"}, evaluation | {"split": "test, fog"}]
    extra.append({"kind": "test_read", "n": 100, "times": 2})
    words = check(page.render([*records, *extra], config, "t", "picture", "pictures")).words()
    assert "+0.0 points over coral(weight=0.5) the two intervals overlap" in words
    assert "test, fog" in words
    assert "Test 100 read 2 times" in words


def test_every_loss_of_a_diverged_run_is_a_gap(build_records, config):
    records = build_records(phases=("head",), n=100)
    for r in records:
        if r["kind"] == "epoch":
            r |= {"train_loss": float("nan"), "validation_loss": float("inf")}
    words = check(page.render(records, config, "t", "picture", "pictures")).words()
    assert "nan" not in words.lower().split() and "inf" not in words.lower().split()


def test_flatten():
    assert page.flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}
