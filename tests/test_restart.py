"""A command with --restart that is interrupted goes on where it was, and begins anew once it has ended."""

import pytest
import tools

from tf_transfer import api
from tf_transfer.run.directory import RunDir
from tf_transfer.session import train as fitting

OPTIONS = tools.TINY | {"run_dir": "run", "quiet": True}


class KillError(BaseException):
    pass


def trained():
    return [r["phase"] for r in RunDir("run").records("phase_end")]


@pytest.mark.large
def test_it_goes_on_and_then_begins_anew(monkeypatch):
    phases = ["head", "full", "evaluate", "export"]
    api.fine_tune(**OPTIONS, phases=phases)
    once = [r["kind"] for r in RunDir("run").records()]
    train = fitting.train

    def killed(session, phase, classifier, data):
        if phase == "full":
            raise KillError
        train(session, phase, classifier, data)

    with monkeypatch.context() as patched, pytest.raises(KillError):
        patched.setattr(fitting, "train", killed)
        api.fine_tune(**OPTIONS, phases=phases, restart=True)
    assert trained() == ["head", "full", "head"]
    api.fine_tune(**OPTIONS, phases=phases, restart=True)
    assert trained() == ["head", "full", "head", "full"]
    # But for the data, which are recorded when they change, all stands there twice.
    assert [r["kind"] for r in RunDir("run").records()] == once + [kind for kind in once if kind != "data"]
    assert not (RunDir("run").path / "restart.json").exists()
    api.fine_tune(**OPTIONS, phases=["head"], restart=True)
    assert trained()[4:] == ["head"]


def test_what_was_done_before_does_not_end_what_is_under_way(monkeypatch):
    """Killed in its training, with the head of before still there."""
    options = OPTIONS | {"optimizer": "sgd", "feature_views": 0, "checkpoint_every": "1"}
    api.fine_tune(**options, phases=["head"])
    undisturbed = [r["kind"] for r in RunDir("run").records()]

    def killed(*_):
        raise KillError

    with monkeypatch.context() as patched, pytest.raises(KillError):
        patched.setattr(RunDir, "finish", killed)
        api.fine_tune(**options, phases=["head"], restart=True)
    assert trained() == ["head"] and RunDir("run").recorded("head") > 2
    # Another command neither ends it nor takes its checkpoints.
    api.fine_tune(**options, phases=["report"])
    assert trained() == ["head"] and any(RunDir("run").path.glob("checkpoints/head/step-*"))
    api.fine_tune(**options, phases=["head"], restart=True)
    kinds = [r["kind"] for r in RunDir("run").records() if r["kind"] != "resume"]
    assert kinds == undisturbed + [kind for kind in undisturbed if kind != "data"]
    assert not (RunDir("run").path / "checkpoints/head").exists()


def test_without_restart_it_goes_on_with_what_a_restart_began(monkeypatch):
    options = OPTIONS | {"optimizer": "sgd", "feature_views": 0, "checkpoint_every": "1"}
    api.fine_tune(**options, phases=["head"])

    def killed(*_):
        raise KillError

    with monkeypatch.context() as patched, pytest.raises(KillError):
        patched.setattr(RunDir, "finish", killed)
        api.fine_tune(**options | {"seed": 5}, phases=["head"], restart=True)
    api.fine_tune(**options | {"seed": 5}, phases=["head"])
    kinds = [r["kind"] for r in RunDir("run").records()]
    assert kinds[kinds.index("start_over") :].count("phase_end") == 1
    assert not (RunDir("run").path / "checkpoints/head").exists()


def test_what_a_crash_kept_from_the_records_is_noted_later(monkeypatch):
    note = fitting.note_end
    monkeypatch.setattr(fitting, "note_end", lambda run, phase: None)
    api.fine_tune(**OPTIONS, phases=["head"])
    assert trained() == []
    monkeypatch.setattr(fitting, "note_end", note)
    api.fine_tune(**OPTIONS, phases=["report"])
    assert trained() == ["head"]
