"""Bad data, bad weights, bad places: one line that says what to do, and nothing half done."""

import os
import re
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tools
from PIL import Image

from tf_transfer import api
from tf_transfer.errors import UserError
from tf_transfer.run import directory

FEW = {
    "backbone": "small_resnet",
    "weights": "random",
    "epochs": 1,
    "precision": "float32",
    "run_dir": "run",
    "quiet": True,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return tools.draw_shapes(tmp_path_factory.mktemp("drawn") / "shapes", 4, size=24)


@pytest.fixture
def shapes(drawn, tmp_path):
    """Three classes of four pictures, to be spoilt."""
    return Path(shutil.copytree(drawn, tmp_path / "shapes"))


def assert_refused(message, **options):
    with pytest.raises(UserError, match=message) as error:
        api.fine_tune(**FEW | {"phases": ["head"]} | options)
    assert "\n" not in str(error.value)
    assert not (Path(options.get("run_dir", "run")) / "head").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda shapes: shutil.rmtree(shapes), r"there is no such folder"),
        (lambda shapes: [shutil.rmtree(c) for c in shapes.iterdir()], "at least 2 classes, found no picture"),
        (lambda shapes: [shutil.rmtree(shapes / c) for c in ("circle", "square")], "found the one class 'triangle'"),
        (lambda shapes: _train_and_test(shapes, missing="circle"), "the class 'circle' of test picture .* has no"),
        (lambda shapes: (shapes / "circle/0.png").write_bytes(b"junk"), r"circle/0.png.*raise --max_unreadable"),
        (lambda shapes: _one_a_class(shapes), "--examples_per_class=2: class "),
    ],
)
def test_bad_folders(shapes, spoil, message):
    spoil(shapes)
    few_shot = {"examples_per_class": 2} if "per_class" in message else {}
    assert_refused(message, dataset=str(shapes), **few_shot)


def _train_and_test(shapes, missing):
    (shapes / "test").mkdir()
    (shapes / "train").mkdir()
    for name in ("circle", "square", "triangle"):
        shutil.copytree(shapes / name, shapes / "test" / name)
        (shapes / name).rename(shapes / "train" / name)
    shutil.rmtree(shapes / "train" / missing)


def _one_a_class(shapes):
    for picture in shapes.rglob("[123].png"):
        picture.unlink()


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("folder(path=nowhere)", r"folder\(path=nowhere\): expected a folder of class folders, found nothing"),
        ("./nowhere", "--dataset=./nowhere: there is no such folder"),
        ("csv(path=nowhere.csv)", "the manifest cannot be read: No such file or directory"),
        ("foldr(path=x)", "Unknown data set 'foldr'. Did you mean 'folder'"),
        ("folder(pth=x)", r"unexpected argument 'pth'\. It takes: path, test_fraction"),
        ("folder(path=x", r"Expected name or name\(key=value"),
        ("digits(fraction=1)", r"'fraction'.*It takes: test_fraction"),
        ("cifra10", r"Unknown data set 'cifra10'\. Did you mean cifar10"),
        ("", "Expected name or name"),
    ],
)
def test_wrong_data_sets(dataset, message):
    assert_refused(message, dataset=dataset)


def test_a_wrong_target_is_told_before_the_source_model_is_trained():
    assert_refused("found nothing", dataset="folder(path=nowhere)", source_dataset="digits", phases=["source", "head"])
    assert not Path("run/source").exists()


def test_one_unreadable_picture_may_be_skipped(shapes, capsys):
    (shapes / "square/2.png").write_bytes((shapes / "square/2.png").read_bytes()[:60])
    assert_refused(r"--max_unreadable=0, but 1 of the files cannot be read: square/2\.png", dataset=str(shapes))
    result = api.fine_tune(**FEW | {"dataset": str(shapes), "phases": ["head"], "max_unreadable": 1, "quiet": False})
    data = directory.RunDir(result.run_dir).records("data")[-1]
    assert re.search(r"^square/2\.png \(.*\)$", data["notes"]["unreadable"][0])
    assert "note  unreadable: square/2.png" in capsys.readouterr().out


def test_a_data_set_that_is_not_here_without_a_network(tmp_path):
    begun = time.perf_counter()
    done = tools.run_py(
        "--phase=head", "--data_dir=data", "--dataset=mnist", "--backbone=small_resnet", "--weights=random",
        cwd=tmp_path, timeout=30, **tools.OFFLINE,
    )  # fmt: skip
    assert time.perf_counter() - begun < 10
    tools.assert_refused(done, "'mnist' is not in .*/data and the network does not answer", "download_and_prepare")
    assert not (tmp_path / "data").exists()


def test_imagenet_weights_that_cannot_be_fetched(tmp_path):
    begun = time.perf_counter()
    done = tools.run_py(
        "--phase=head", "--dataset=digits", "--backbone=mobilenet(alpha=0.25)", "--image_size=32",
        cwd=tmp_path, KERAS_HOME=str(tmp_path / "home"), **tools.OFFLINE,
    )  # fmt: skip
    assert time.perf_counter() - begun < 15
    tools.assert_refused(done, r"the weights of mobilenet\(alpha=0.25\) are not in .*/home/models", "set KERAS_HOME")


def test_weights_that_are_damaged_or_of_another_network(trained):
    whole = (trained / "full/backbone.weights.h5").read_bytes()
    Path("cut.weights.h5").write_bytes(whole[: len(whole) // 2])
    Path("junk.h5").write_bytes(b"junk")
    with h5py.File("empty.weights.h5", "w"):
        pass
    for name in ("cut.weights.h5", "junk.h5", "empty.weights.h5"):
        assert_refused(rf"{name} do not fit --backbone=small_resnet or are damaged", dataset="digits", weights=name)
    for backbone in ("small_resnet(width=8)", "mobilenet(alpha=0.25)"):
        assert_refused(
            "do not fit --backbone=", dataset="digits", backbone=backbone, weights=str(trained), image_size=32
        )
    assert_refused("is a directory without a trained model", dataset="digits", weights=".")
    assert_refused("expected imagenet, random, an existing", dataset="digits", weights="none.weights.h5")
    assert_refused(
        "--weights=source: no source model in run yet", dataset="digits", weights="source", source_dataset="digits"
    )


def test_a_damaged_model_of_the_run_itself(trained):
    shutil.copytree(trained, "run")
    with h5py.File("run/full/head.weights.h5", "r+") as file:
        place = []
        file.visititems(lambda name, item: place.append(name) if isinstance(item, h5py.Dataset) else None)
        del file[place[0]]
    with pytest.raises(UserError, match=r"full/head\.weights\.h5 do not fit this model or are damaged"):
        api.fine_tune("digits", "small_resnet", phases=["export"], run_dir="run", quiet=True, export_phase="full")
    Path("run/head/done.json").write_text("{")
    with pytest.raises(UserError, match=r"run/head/done\.json is damaged"):
        api.fine_tune("digits", "small_resnet", phases=["export"], run_dir="run", quiet=True)


@pytest.mark.parametrize("content", ["[]", '{"data": 1}', "{", "\x00"])
def test_a_configuration_that_is_none(content):
    Path("run").mkdir()
    Path("run/config.json").write_text(content)
    assert_refused(
        "run/config.json is (damaged|not the configuration of a run).*use another --run_dir", dataset="digits"
    )


def test_run_directories_that_cannot_be():
    Path("file").write_text("mine")
    assert_refused("--run_dir='file' is a file; expected a folder", dataset="digits", run_dir="file")
    for run, reason in (("file/deeper", "Not a directory"), ("x" * 300, "File name too long")):
        with pytest.raises(UserError, match=rf"--run_dir='.*cannot be written: {reason}"):
            api.open_run({"run_dir": run, "dataset": "digits"}, ["full"])
    assert Path("file").read_text() == "mine"


def test_a_folder_of_somebody_else_is_not_touched():
    for name in ("data/mine.txt", "full/mine.txt"):
        Path(name).parent.mkdir()
        Path(name).write_text("mine")
    for restart in (False, True):
        assert_refused(
            "is not the folder of a run, but holds full, data", dataset="digits", run_dir=".", restart=restart
        )
    assert {p.name for p in Path().rglob("*")} == {"data", "full", "mine.txt"}


@pytest.fixture
def closed(tmp_path):
    """Makes a folder of a mode that holds, also where the tests run as root."""
    effective = os.geteuid()

    def close(folder, mode):
        folder.mkdir()
        for above in (tmp_path, *tmp_path.parents[:2]):
            above.chmod(0o755)
        folder.chmod(mode)
        if not effective:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        return folder

    yield close
    os.seteuid(effective)
    for folder in tmp_path.iterdir():
        folder.chmod(0o755)


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_run_directory_without_permission(tmp_path, closed, mode):
    run = closed(tmp_path / "run", mode)
    for folder in (run, run / "deeper"):
        with pytest.raises(UserError, match="cannot be written: Permission denied"):
            api.open_run({"run_dir": str(folder), "dataset": "digits"}, ["full"])


def test_starting_over_needs_a_first_phase_and_right_names(trained):
    """Nothing is removed by a command that does not train anew, is mistaken, or only looks."""
    shutil.copytree(trained, "run")
    kept = {str(p) for p in Path("run").rglob("*")}
    mistakes = [
        ({"seed": 9, "phases": ["evaluate"]}, "--seed was 0, now 9"),
        ({"backbone": "resnet5", "phases": ["head"]}, "Unknown --backbone"),
    ]
    for options, message in mistakes:
        with pytest.raises(UserError, match=message):
            api.fine_tune(**FEW | {"dataset": "digits", "restart": True} | options)
    api.open_run({"run_dir": "run", "seed": 9}, ["head"], restart=True, write=False)
    assert {str(p) for p in Path("run").rglob("*")} == kept


HOSTILE = [
    "<script>alert(1)</script>",
    "x" * 300,
    "../../escape",
    "new\nline",
    "\N{GRINNING FACE}",
    "\x1b[31m=1+1",
    "'\"`",
]


@pytest.mark.large
def test_hostile_class_names(tmp_path, capsys):
    random, rows = np.random.default_rng(0), ["path,label"]
    Path("in").mkdir()
    for number, label in enumerate(HOSTILE):
        for i in range(5):
            name = f"{number}-{i}.png"
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(Path("in", name))
            quoted = label.replace('"', '""')
            rows.append(f'{name},"{quoted}"')
    Path("in/list.csv").write_text("\n".join(rows) + "\n", "utf-8")
    options = FEW | {"dataset": "in/list.csv", "run_dir": "here/run", "quiet": False, "image_size": 16}
    result = api.fine_tune(**options)
    outside = {p.name for p in tmp_path.rglob("*") if p.is_file() and tmp_path / "here/run" not in p.parents}
    assert outside == {"list.csv", *(f"{n}-{i}.png" for n in range(len(HOSTILE)) for i in range(5))}
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) < 400
    from tf_transfer import serving
    from tf_transfer.console import Console
    from tf_transfer.modalities.words import of_card
    from tf_transfer.serving import files
    from tf_transfer.serving.files.finding import find_files

    written = [name.replace("\n", "\\n").replace("\x1b", "\\x1b") for name in sorted(HOSTILE)]
    answers = list(serving.load(result.saved_model).predict_files(find_files("in", of_card({}))))
    assert list(answers[0].probabilities) == written
    assert {c["name"] for c in result.metrics["full"]["per_class"]} == set(written)
    page = result.report.read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    files.predict(result.run_dir, files.Asked.parse("in", "out.jsonl", None, None), Console())
    assert "\x1b" not in capsys.readouterr().out
    samples = [p.name for p in Path("here/run/samples").iterdir()]
    assert len(samples) == result.metrics["full"]["accuracy"]["n"] <= 12
    assert all(re.fullmatch(r"\d\d_\w{1,40}\.png", name) for name in samples)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--saved_model=none", "--images=1.png"], "expected at 'none': there is no such folder; run --phase=export"),
        (["--saved_model={run}", "--images=*.gif"], r"--inputs='\*\.gif': no picture found"),
        (
            ["--saved_model={run}", "--images=1.png", "--predictions=out.txt"],
            "expected a name that ends in .csv, .jsonl, .parquet",
        ),
        (["--saved_model={run}", "--images=1.png", "--predictions=1.png/out.csv"], "cannot be written: (Not|File)"),
        (
            ["--saved_model={run}", "--images=1.png", "--predictions=folder.csv"],
            "is a folder; expected a file to write",
        ),
    ],
)
def test_predict_refuses(tmp_path, trained, arguments, message):
    from tf_transfer.console import Console
    from tf_transfer.serving import files

    Image.new("RGB", (8, 8)).save("1.png")
    Path("folder.csv").mkdir()
    values = {"predictions": "out.csv"} | dict(a.removeprefix("--").format(run=trained).split("=") for a in arguments)
    with pytest.raises(UserError, match=message):
        asked = files.Asked.parse(values["images"], values["predictions"], None, None)
        files.predict(values["saved_model"], asked, Console())
    assert {p.name for p in tmp_path.iterdir()} == {"1.png", "folder.csv"}
