"""The contract that every modality must pass: pictures, and a stub of rows of numbers that a test module registers."""

import importlib
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import service_client
import tensorflow as tf
import tools

from tf_transfer import api, serving
from tf_transfer.console import Console, Nowhere
from tf_transfer.data import decoding
from tf_transfer.errors import UserError
from tf_transfer.export import targets
from tf_transfer.modalities import base
from tf_transfer.phases import evaluate_artefact
from tf_transfer.serving import files
from tf_transfer.session.session import Session


@dataclass(frozen=True)
class Case:
    """What a modality is tried with.

    Attributes:
        modality: its name.
        imports: module that registers it.
        options: of `fine_tune`: a target, a source of the same classes, a small network.
        size: of the network's input.
    """

    modality: str
    imports: str | None
    options: dict
    size: int


CASES = {
    "image": Case(
        "image",
        None,
        {"dataset": "digits", "source_dataset": "rendered_digits(n=200)", "backbone": "small_resnet(width=4)"},
        16,
    ),
    "row": Case(
        "row", "rows", {"dataset": "rows", "source_dataset": "rows(seed=1, shift=1.0)", "backbone": "rows(width=8)"}, 6
    ),
}
SHORT = {"weights": "source", "epochs": 2, "examples_per_class": 12, "validation_fraction": 0.25}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    found = CASES[request.param]
    if found.imports:
        importlib.import_module(found.imports)
    return found


@pytest.fixture(scope="module")
def modality(case):
    return base.find(case.modality)


@pytest.fixture(scope="module")
def result(case, tmp_path_factory):
    """A run from a source model to an assessment."""
    return api.fine_tune(
        **case.options,
        **SHORT,
        imports=case.imports,
        input_size=case.size,
        run_dir=tmp_path_factory.mktemp(case.modality) / "run",
        phases=["source", "head", "full", "evaluate", "assess"],
        assess_budget=0.2,
        quiet=True,
    )


def test_words_and_card(case, modality):
    card = modality.card()
    assert (card["name"], card["one"], card["many"]) == (case.modality, modality.one, modality.many)
    assert card["endings"] == list(modality.endings)
    assert all(ending.startswith(".") and ending == ending.lower() for ending in card["endings"])
    name, spec = modality.signature()
    assert card["input"] == {"name": name, "dtype": spec.dtype.name, "shape": spec.shape.as_list()}
    assert spec.shape[0] is None and spec.dtype == modality.dtype
    assert str(case.size) in modality.told(case.size)


def test_a_sample_is_read_back(case, modality, tmp_path):
    examples = modality.random(3, case.size)
    assert examples.dtype == modality.dtype and len(examples) == 3
    np.testing.assert_array_equal(modality.random(3, case.size), examples)
    paths = []
    for number, example in enumerate(examples):
        ending, content = modality.sample(example)
        assert ending in modality.endings
        paths.append(tmp_path / f"{number}{ending}")
        paths[-1].write_bytes(content)
    sides, reasons, _ = decoding.measure_files([str(path) for path in paths], modality)
    form = modality.stored(sides, case.size)
    assert not reasons and form.native and form.shape == examples.shape[1:] and form.dtype == modality.dtype
    decoded, good = decoding.decode_files([str(path) for path in paths], form, modality)
    assert good.all()
    np.testing.assert_allclose(decoded, examples, rtol=1e-6)
    assert set(modality.show(examples[0])) <= {"png", "text"}


def test_bad_files_harm_no_other(case, modality):
    example = modality.random(1, case.size)[0]
    _, content = modality.sample(example)
    decode = tf.function(lambda contents: modality.decode_rows(contents, case.size), autograph=False)
    decoded, status = decode(tf.constant([b"damaged", content, b""]))
    assert [s == b"ok" for s in status.numpy()] == [False, True, False]
    np.testing.assert_allclose(decoded[1], example, rtol=1e-6)
    assert not np.any(decoded.numpy()[[0, 2]])
    with pytest.raises(tf.errors.InvalidArgumentError):
        modality.decode(tf.constant(b"damaged"))


def test_preprocessing_is_the_same_for_tensors_and_in_a_functional_model(case, modality):
    import keras

    from tf_transfer.modalities import backbones

    mode = backbones.find_backbone(case.options["backbone"]).mode
    inputs, examples = modality.inputs(case.size, mode), modality.random(4, case.size)
    assert (inputs.size, inputs.mode) == (case.size, mode)
    symbolic = keras.Input(examples.shape[1:], dtype=examples.dtype.name)
    functional = keras.Model(symbolic, inputs(symbolic))
    np.testing.assert_array_equal(inputs(tf.constant(examples)), functional(examples))
    if modality.targets:
        np.testing.assert_array_equal(inputs.fitting(tf.constant(examples, tf.float32)), functional(examples))


def test_corruptions_are_a_function_of_the_seed_and_of_the_place(case, modality):
    examples = modality.corruptible(modality.random(5, case.size), case.size)
    for name in modality.corruptions:
        least, most = modality.severities[0], modality.severities[-1]
        mild, strong = (modality.corrupt(examples, name, s, 3) for s in (least, most))
        assert mild.dtype == modality.dtype and mild.shape == examples.shape
        np.testing.assert_array_equal(modality.corrupt(examples[:2], name, least, 3), mild[:2])
        assert not np.array_equal(mild, examples) and not np.array_equal(strong, mild), name


def test_every_phase_ends(case, result):
    assert set(result.metrics) == {"source", "head", "full"}
    chance = 1 / len(result.metrics["full"]["per_class"])
    assert result.metrics["full"]["accuracy"]["value"] > 1.5 * chance
    samples = list((result.run_dir / "samples").iterdir())
    assert samples and {path.suffix for path in samples} <= set(base.find(case.modality).endings)


def test_the_assessment_is_complete(case, modality, result):
    blocks = result.assessment["blocks"]
    assert result.assessment["verdict"]
    corruptions = blocks["shift"]["corruptions"]
    if corruptions:
        assert corruptions["names"] == list(modality.corruptions)
        assert corruptions["severities"] == list(modality.severities)


def test_another_process_goes_on_from_what_is_recorded(case, result, tmp_path):
    """It imports what the run was made with, unasked."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    done = tools.run_py("--phase=head,evaluate", f"--run_dir={result.run_dir}", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "head  already done" in done.stdout and "evaluate  already done" in done.stdout


def test_data_of_another_modality_is_refused(case, tmp_path):
    other = next(c for c in CASES.values() if c != case)
    importlib.import_module("rows")
    options = {**case.options, "dataset": other.options["dataset"]}
    message = rf"--dataset={options['dataset']} holds examples of the modality {other.modality}, and --backbone takes "
    with pytest.raises(UserError, match=message):
        api.fine_tune(**options, **SHORT, imports="rows", run_dir=tmp_path / "run", phases=["head"], quiet=True)


# --- what leaves the package


@pytest.fixture(scope="module")
def saved(case, result):
    """The SavedModel of the run, which the gate has let through."""
    options = {"run_dir": result.run_dir, "quiet": True}
    return api.fine_tune(case.options["dataset"], phases=["export"], **options).saved_model


@pytest.fixture(scope="module")
def measured(case, result, saved):
    """The test split as the export was measured on it: examples, logits."""
    config, directory = api.open_run({"run_dir": str(result.run_dir)}, [], write=False)
    split = Session(config, frozenset(), directory, Console(Nowhere())).datasets.test_examples()
    with np.load(result.run_dir / "evaluate" / "predictions.npz") as recorded:
        return split.inputs, recorded[tools.exported(result.run_dir)]


def test_the_export_is_what_was_measured(case, modality, saved, measured):
    card = json.loads((saved / "assets/model_card.json").read_text())
    assert card["modality"] == modality.card()
    assert card["export"]["parity"]["split"] == "test" and card["export"]["parity"]["argmax_agreement"] == 1.0
    assert card["export"]["bytes_parity"]["rows_independent"]
    text = (saved / "assets/model_card.md").read_text()
    assert f"computes in {card['model']['precision']} on {modality.told(case.size)}." in text
    assert f"for any {modality.one}, also" in text and f"test {modality.many} it names" in text
    examples, logits = measured
    name, _ = modality.signature()
    found = tf.saved_model.load(str(saved)).signatures["serving_default"](**{name: tf.constant(examples[:40])})
    np.testing.assert_allclose(found["logits"], logits[:40], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def folder(modality, measured, tmp_path_factory):
    """Files of the first test examples, a damaged one, and one of another kind."""
    made = tmp_path_factory.mktemp("files")
    for number, example in enumerate(measured[0][:6]):
        ending, content = modality.sample(example)
        (made / f"{number}{ending}").write_bytes(content)
    (made / f"bad{ending}").write_bytes(b"damaged")
    (made / "notes.txt").write_bytes(b"of another kind")
    return made


def test_arrays_and_files_are_predicted_alike(modality, saved, measured, folder):
    examples, logits = measured
    expected = tf.nn.softmax(logits[:6]).numpy().argmax(1)
    with serving.Predictor(saved) as predictor:
        stack = predictor.predict(examples[:6])
        one = predictor.predict(examples[0])
        mixed = predictor.predict(
            [*sorted(folder.glob("[0-9]*")), next(folder.glob("bad*")), examples[0], "no file", None]
        )
        features = predictor.features(examples[:6])
    assert [predictor.class_names.index(p.label) for p in stack] == expected.tolist()
    assert one == stack[:1] and features.shape[0] == 6 and np.isfinite(features).all()
    for found, wanted in zip([*mixed[:6], mixed[7]], [*stack, stack[0]], strict=True):
        assert not found.error and found.label == wanted.label
        assert list(found.probabilities.values()) == pytest.approx(list(wanted.probabilities.values()), abs=1e-5)
    assert mixed[6].error and mixed[8].error == "No such file or directory" and "NoneType" in mixed[9].error
    for wrong in (examples[None, :1], examples[0].astype(complex)):
        with serving.Predictor(saved) as predictor, pytest.raises(UserError, match=r"expected .* got "):
            predictor.predict(wrong)


def test_a_folder_is_predicted_by_the_endings_of_the_modality(modality, saved, folder, tmp_path):
    said = io.StringIO()
    asked = files.Asked.parse(str(folder), str(tmp_path / "out.jsonl"), None, None)
    assert files.predict(saved, asked, Console(said)) == 1
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 7 and sum(bool(line["error"]) for line in lines) == 1
    assert f"1 files that hold no {modality.one} (" in said.getvalue()
    with pytest.raises(UserError, match=rf"no {modality.one} found; expected .*{re.escape(modality.endings[0])}"):
        files.predict(
            saved, files.Asked.parse(str(folder / "*.txt"), str(tmp_path / "o.csv"), None, None), Console(said)
        )


def test_it_is_served(modality, saved, measured, folder):
    pytest.importorskip("aiohttp", reason="the service needs it: pip install -e '.[serve]'")
    examples, logits = measured
    with service_client.serving(saved) as served:
        rows = served.predictions(examples[:3].tolist())
        np.testing.assert_allclose([row["logits"] for row in rows], logits[:3], rtol=1e-4, atol=1e-4)
        paths = [*sorted(folder.glob("[0-9]*")), next(folder.glob("bad*"))]
        rows = served.predictions([service_client.b64(path.read_bytes()) for path in paths], "serve_bytes")
        page = served.get("/").text()
    assert [row["status"] == "ok" for row in rows] == [True] * 6 + [False]
    np.testing.assert_allclose([row["logits"] for row in rows[:6]], logits[:6], rtol=1e-4, atol=1e-4)
    assert f"Give the model a {modality.one} and see its answer" in page


def test_an_artefact_is_evaluated_as_it_was_measured(case, result, saved):
    config, directory = api.open_run({"run_dir": str(result.run_dir)}, [], write=False)
    session = Session(config, frozenset(), directory, Console(io.StringIO()), artefact=str(saved))
    record = evaluate_artefact.evaluate(session)
    assert record["metrics"]["accuracy"] == result.metrics[tools.exported(result.run_dir)]["accuracy"]


def test_other_targets_are_made_or_refused_in_a_line(modality):
    for name in targets.TARGET.names():
        if name in modality.targets:
            assert targets.parse(name, modality) == [name]
        else:
            with pytest.raises(UserError, match=f"--export_targets={name} holds no network of {modality.many}"):
                targets.parse(name, modality)
