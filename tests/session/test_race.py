"""Validation chooses between frozen and trained BatchNorm statistics, and ends as the chosen training alone would."""

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import crash
from tf_transfer import api
from tf_transfer.errors import UserError
from tf_transfer.modalities import backbones
from tf_transfer.run.checkpoints import Checkpoints
from tf_transfer.run.directory import RunDir
from tf_transfer.session import plan as plans
from tf_transfer.session import race, resume

OPTIONS = {
    "dataset": "rows(n=200, shift=3)", "source_dataset": "rows(seed=1)", "weights": "source", "backbone": "rows_bn",
    "epochs": {"source": 1.0, "full": 10.0}, "precision": "float32", "feature_store": "off", "strategy": "one",
    "checkpoint_every": "7", "quiet": True,
}  # fmt: skip


class KillError(BaseException):
    """Nothing handles it: as SIGKILL, but the test goes on."""


def network(size: int):
    import keras

    inputs = keras.Input((size,))
    x = keras.layers.Dense(8, name="first")(inputs)
    x = keras.layers.Activation("relu")(keras.layers.BatchNormalization(name="norm")(x))
    return keras.Model(inputs, keras.layers.Dense(8, activation="relu", name="second")(x))


@pytest.fixture(scope="module", autouse=True)
def rows():
    """The modality of rows, with a network that normalises."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(Path(__file__).parents[1] / "modalities"))
        import rows  # noqa: F401

        spec = backbones.Backbone(f"{__name__}:network", "tenth", 6, 160, 1, imagenet=False, modality="row")
        patched.setitem(backbones.BACKBONES, "rows_bn", spec)
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory, rows):
    """A run whose head has ended."""
    folder = tmp_path_factory.mktemp("race") / "head"
    api.fine_tune(run_dir=str(folder), phases=["source", "head"], **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def undisturbed(begun):
    return ended(begun, begun.parent / "undisturbed")


def ended(begun, folder, **options):
    if not folder.exists():
        shutil.copytree(begun, folder)
    api.fine_tune(run_dir=str(folder), phases=["full"], **OPTIONS | options)
    return folder


def of_full(folder):
    return [r for r in RunDir(folder).records() if r.get("phase") == "full"]


def done(folder):
    return json.loads((folder / "full/done.json").read_text())


def test_the_choice_is_recorded_once_with_both_scores(undisturbed):
    kinds = [r["kind"] for r in of_full(undisturbed)]
    assert kinds == ["start", "plan", "plan", "race", *["epoch"] * 10, "phase_end"]
    (choice,) = (r for r in of_full(undisturbed) if r["kind"] == "race")
    assert (choice["epochs"], choice["of"], choice["option"]) == (2, 10, "bn")
    assert set(choice["validation"]) == {"train", "frozen"} and choice["chosen"] == done(undisturbed)["plan"]["bn"]
    word, other = ("trained", "frozen") if choice["chosen"] == "train" else ("frozen", "trained")
    score = {name: f"{kept['value']:.3f}" for name, kept in choice["validation"].items()}
    lost = next(name for name in score if name != choice["chosen"])
    assert choice["text"] == (
        f"BatchNorm statistics: {word} (validation {score[choice['chosen']]}) against {other} ({score[lost]}) "
        "after 2 of 10 epochs"
    )
    assert done(undisturbed)["race"]["text"] == choice["text"]
    assert not any((undisturbed / "checkpoints").iterdir())


def test_the_winner_ends_as_it_would_have_alone(begun, undisturbed, tmp_path):
    plan = done(undisturbed)["plan"]
    alone = ended(begun, tmp_path / "run", bn={"full": plan["bn"]}, learning_rate={"full": plan["learning_rate"]})
    assert "race" not in [r["kind"] for r in of_full(alone)]
    # The same weights and epochs; that a choice was recorded is all that differs.
    assert not [d for d in crash.differences(undisturbed, alone) if "record" not in d]
    losses = [[r["validation_loss"] for r in of_full(run) if r["kind"] == "epoch"] for run in (undisturbed, alone)]
    assert losses[0] == losses[1]


def test_killed_at_any_write_it_chooses_and_ends_as_it_would_have(begun, undisturbed, tmp_path, monkeypatch):
    """Before and after every record and every checkpoint, one after the other in one run, then here and there."""
    left = [0]

    def killing(method):
        def call(self, *args, **values):
            left[0] -= 1
            if not left[0]:
                raise KillError
            found = method(self, *args, **values)
            left[0] -= 1
            if not left[0]:
                raise KillError
            return found

        return call

    monkeypatch.setattr(RunDir, "record", killing(RunDir.record))
    monkeypatch.setattr(Checkpoints, "save", killing(Checkpoints.save))
    again, kills = tmp_path / "again", 0
    # In one run, each time a little later than it came before.
    for left[0] in range(3, 60, 4):
        try:
            ended(begun, again)
            break
        except KillError:
            kills += 1
    assert kills > 5 and crash.differences(undisturbed, again) == []


def test_killed_between_the_records_of_the_choice_and_their_checkpoint(begun, undisturbed, tmp_path, monkeypatch):
    save = Checkpoints.save

    def killed(self, *args, **values):
        if of_full(tmp_path / "run")[-1]["kind"] == "epoch":
            raise KillError
        save(self, *args, **values)

    with monkeypatch.context() as patched, pytest.raises(KillError):
        patched.setattr(Checkpoints, "save", killed)
        patched.setattr(resume, "time", SimpleNamespace(monotonic=itertools.count(0, 100).__next__))
        ended(begun, tmp_path / "run")
    assert [r["kind"] for r in of_full(tmp_path / "run")] == ["start", "plan", "plan", "race", "epoch", "epoch"]
    ended(begun, tmp_path / "run")
    assert crash.differences(undisturbed, tmp_path / "run") == []
    # The time before the kill counts.
    assert done(tmp_path / "run")["seconds"] > 100


def test_other_options_do_not_go_on_with_it(begun, undisturbed, tmp_path, monkeypatch):
    def killed(*_):
        raise KillError

    with monkeypatch.context() as patched, pytest.raises(KillError):
        patched.setattr(race, "challenges", killed)
        ended(begun, tmp_path / "run")
    with pytest.raises(UserError, match=r"interrupted with other options: the BatchNorm statistics were left to valid"):
        ended(begun, tmp_path / "run", bn={"full": "frozen"})
    with pytest.raises(UserError, match=r"interrupted at step \d+ with other options: clip_norm was 5.0, now 1.0"):
        ended(begun, tmp_path / "run", clip_norm={"full": 1.0})
    ended(begun, tmp_path / "run")
    assert crash.differences(undisturbed, tmp_path / "run") == []


def test_a_training_that_began_without_a_choice_goes_on_without(begun, tmp_path, monkeypatch):
    """As one of an earlier version."""
    finish = RunDir.finish

    def killed(*_):
        raise KillError

    with monkeypatch.context() as patched, pytest.raises(KillError):
        patched.setattr(plans, "candidates", lambda training, phase, facts, plan: (plan,))
        patched.setattr(RunDir, "finish", killed)
        ended(begun, tmp_path / "run")
    assert RunDir.finish is finish
    ended(begun, tmp_path / "run")
    assert done(tmp_path / "run")["plan"]["bn"] == "train" and "race" not in done(tmp_path / "run")
    assert [r["kind"] for r in of_full(tmp_path / "run")].count("resume") == 1


def test_what_diverges_loses(begun, tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "SLOWER", 1e25)
    choice = done(ended(begun, tmp_path / "run", clip_norm={"full": 0.0}))["race"]
    assert choice["chosen"] == "train" and choice["validation"]["frozen"] is None
    assert "against frozen (diverged)" in choice["text"]


@pytest.mark.large
def test_replicas_choose_alike(begun, undisturbed, tmp_path):
    run = ended(begun, tmp_path / "run", strategy="mirrored")
    one, two = (done(folder) for folder in (undisturbed, run))
    assert one["race"]["chosen"] == two["race"]["chosen"]
    assert one["validation_loss"] == pytest.approx(two["validation_loss"], rel=1e-4)


@pytest.mark.large
def test_restart_begins_anew_and_chooses_again(undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    api.fine_tune(run_dir=str(run), phases=["full"], restart=True, **OPTIONS)
    first, second = ([r for r in of_full(run) if r["kind"] == kind] for kind in ("race", "phase_end"))
    assert len(first) == len(second) == 2 and first[0]["text"] == first[1]["text"]
    assert second[0]["validation_loss"] == second[1]["validation_loss"]
