"""The assess phase from start to end: features, trainings, one reading of the test split, measurements, verdict."""

import dataclasses
import importlib
import json
import time
import uuid
from collections.abc import Callable, Mapping

import numpy as np

from tf_transfer.assess import domain, drift, forecast, outcome, run_trials, shift, study, trust
from tf_transfer.assess.clock import Clock
from tf_transfer.assess.networks import FOLDER
from tf_transfer.assess.plan import Trial
from tf_transfer.config import Config, canonical
from tf_transfer.console import clock
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import comparison, verdict
from tf_transfer.machine import devices
from tf_transfer.machine.strategy import several_hosts
from tf_transfer.modalities import backbones
from tf_transfer.phases.catalogue import FULL, HEAD, SCRATCH, SOURCE, TRAINED
from tf_transfer.run.records import encoded
from tf_transfer.session.session import Session

_RESULT = f"{FOLDER}/result"
# Holds the id of the --restart under which the trials were trained.
_BEGUN = f"{FOLDER}/begun.json"
# The options that decide the result of an assessment.
_DECIDING = ("data", "model", "training", "assess")


def assess(session: Session, now: Callable[[], float] = time.monotonic) -> None:
    """Measures how well the pretrained network adapts to the target, and says what to do.

    Args:
        session: the command.
        now: reads the clock by which `--assess_budget` is spent, in seconds.

    Raises:
        UserError: the run is on several hosts; an option names nothing; data cannot be read.
    """
    if several_hosts(session.strategy):
        raise UserError("--phase=assess runs on one host, as it plans by its own clock: give --strategy=mirrored.")
    asked = _asked(session)
    done = session.run.done(_RESULT)
    if done and _completed(done["asked"]) == asked and not session.begins_anew(_RESULT):
        session.console.line(
            f"assess  already done; the test {session.modality.many} are not read again (--restart would)"
        )
    else:
        done = _assess(session, asked, Clock(session.config.assess.assess_budget, session.console, now))
    if (session.run.records("assessment") or [{}])[-1].get("id") != done["id"]:
        # A crash may have come between the result and its record.
        session.run.record("assessment", phase="assess", **{k: v for k, v in done.items() if k != "restart"})
    _tell(session, done)


def check(config: Config) -> None:
    """Refuses options of an assessment that name nothing, before anything is read or trained.

    Raises:
        UserError: a part of `--shifted` or `--backbones` is wrong.
    """
    shift.parse(config.assess.shifted)
    size = config.model.input_size or backbones.find_backbone(config.model.backbone).size
    for spec in candidates(config):
        study.candidate(config.model, spec, size)


def candidates(config: Config) -> list[str]:
    """Returns the specs of `--backbones`, each once, without the run's own."""
    named = [spec.strip() for spec in (config.assess.backbones or "").split("|")]
    return [spec for spec in dict.fromkeys(named) if spec and spec != config.model.backbone]


def _asked(session: Session) -> dict:
    """Returns all that decides the result of an assessment, the clock aside."""
    config = session.config.to_dict()
    # Trials stop early only where it was asked for: what the rules choose elsewhere decides nothing here.
    config["training"]["patience"] = config["training"]["patience"] or 0
    models = {p: (session.run.done(p) or {}).get("seconds") for p in TRAINED}
    if session.config.model.weights != SOURCE:
        models[SOURCE] = None
    asked = {"models": models, "seed": session.config.run.seed, "precision": session.precision}
    # As JSON gives them back.
    return json.loads(json.dumps(asked | {stage: config[stage] for stage in _DECIDING}))


def _completed(recorded: Mapping) -> dict:
    """Returns what `_asked` gave, perhaps in an older version, by today's names; a missing option has its default."""
    defaults = Config().to_dict()
    return {**recorded, **{stage: defaults[stage] | canonical(recorded[stage]) for stage in _DECIDING}}


def _assess(session: Session, asked: dict, timer: Clock) -> dict:
    session.note_restart()
    if session.restart and (session.run.read_json(_BEGUN) or {}).get("restart") != session.restart_id:
        # A --restart that a crash ended keeps what it has trained.
        session.run.forget(FOLDER)
        session.run.write_json(_BEGUN, {"restart": session.restart_id})
    if not _pretrained(session):
        session.console.note(
            "--weights=random: nothing was pretrained, and what is called transfer here compares trainings from random "
            "weights; give --weights=imagenet, a file, or a run directory."
        )
    data = session.datasets.training()
    # Before anything is written: a wrong set must not stay among the recorded options.
    shifted = shift.load(session, shift.parse(session.config.assess.shifted), data.class_names)
    found = study.begin(session, timer, candidates(session.config))
    shifted = {name: found.limited(name, split, len(shifted)) for name, split in shifted.items()}
    _warn_of_seen(session, shifted, data)
    timer.spend("imports", _import)
    run_trials.train(found)
    # The test split is read only when everything is trained.
    timer.say(f"the test {session.modality.many}")
    if (test := _test(session, timer)) is not None:
        found.measure_on("test", test)
    timer.spend("predictions", lambda: study.predict(found))
    blocks = _blocks(found, shifted)
    done = {
        "id": uuid.uuid4().hex[:12],
        "asked": asked,
        "restart": session.restart_id,
        "pretrained": _pretrained(session),
        "split": found.split,
        "n": {name: len(split) for name, split in found.measured.items()},
        "blocks": blocks,
        "verdict": dataclasses.asdict(_verdict(found, blocks)),
        "left_out": timer.left_out,
        "seconds": timer.seconds - timer.left(),
        "spent": timer.spent,
        **devices.facts(session.strategy, session.precision),
    }
    with session.run.write_folder(_RESULT) as folder:
        logits = {f"{trial} {name}": v for trial, sets in found.logits.items() for name, v in sets.items()}
        labels = {f"labels {name}": split.labels for name, split in found.measured.items()}
        np.savez(folder / "predictions.npz", **logits, **labels)
        (folder / "done.json").write_bytes(encoded(done))
    return session.run.done(_RESULT)


def _import() -> None:
    """Imports what measurements import late, so that no measurement is charged for it."""
    for name in ("sklearn.covariance", "sklearn.linear_model", "scipy.optimize", "scipy.stats"):
        importlib.import_module(name)


def _warn_of_seen(session: Session, shifted: Mapping[str, Split], data: TrainingData) -> None:
    """Records which shifted sets hold training examples: their accuracies are too high."""
    for name, split in shifted.items():
        if seen := sum(digest in data.digests for digest in split.digests):
            of_set = f"{len(split)} {session.modality.many} of --shifted={name}"
            text = f"{seen} of the {of_set} also stand among the training ones."
            session.run.record("warning", phase="assess", text=text)
            session.console.note(one_line(text, 200))


def _test(session: Session, timer: Clock):
    if "test" not in session.datasets.open(session.config.data.dataset).splits:
        timer.leave_out("the test split", "the data set has none: validation, which chose epochs and L2, tells instead")
        return None
    split, _, duplicates, unreadable = session.datasets.test()
    for record in session.datasets.warnings(duplicates, unreadable):
        session.run.record(phase="assess", **record)
    return split


def _blocks(found: study.Study, shifted: dict) -> dict:
    """Measures every block; returns them by name."""
    spend = found.clock.spend
    main = outcome.best(found)
    kinds = [k for k in (FULL, HEAD, SCRATCH) if Trial(k, found.top, found.seed) in found.ran]
    kinds = [main, *(k for k in kinds if k != main)]
    blocks = {"outcome": spend("outcome", lambda: outcome.measure(found))}
    blocks["gain"] = spend("gain", lambda: outcome.gain(found))
    blocks["forecast"] = spend("forecast", lambda: forecast.measure(found))
    blocks["distance"] = spend("distance", lambda: domain.measure(found, shifted))
    blocks["shift"], logits, labels = spend("shift", lambda: shift.measure(found, kinds, shifted))
    blocks["trust"] = spend("trust", lambda: trust.measure(found, kinds[0], logits[kinds[0]], labels))
    blocks["drift"] = spend("drift", lambda: drift.measure(found, shifted))
    blocks["latency"] = outcome.latency(found, kinds[0])
    return blocks


def _verdict(found: study.Study, blocks: dict) -> verdict.Verdict:
    head, full = (found.correct(kind, found.top) for kind in (HEAD, FULL))
    if not _pretrained(found.session):
        return verdict.decide({}, pretrained=False)
    if head is None or full is None:
        return verdict.Verdict(
            verdict.UNDECIDED, "no network was fine-tuned in the time there was: raise --assess_budget"
        )
    best, scratch = found.correct(outcome.best(found), found.top), found.correct(SCRATCH, found.top)
    estimates = {
        "full - head": comparison.accuracy_difference(full, head),
        "best - blind": comparison.accuracy_difference(best, outcome.blind(found)),
    }
    if scratch is not None:
        estimates["best - scratch"] = comparison.accuracy_difference(best, scratch)
    return verdict.decide(estimates, outcome.preferred(found), blocks["gain"]["forecast"])


def _pretrained(session: Session) -> bool:
    return session.config.model.weights != "random"


def _tell(session: Session, done: dict) -> None:
    told, kinds = done["verdict"], done["blocks"]["outcome"]["kinds"]
    for kind, facts in kinds.items():
        accuracy = facts["accuracy"][done["split"]]
        session.console.line(
            f"assess  {kind:<12} {100 * accuracy['value']:5.1f} % ({100 * accuracy['low']:.1f} to "
            f"{100 * accuracy['high']:.1f}) on {accuracy['n']:,} {one_line(done['split'])} {session.modality.many}"
        )
    numbers = "; ".join(
        f"{name} {100 * e['value']:+.1f} points ({100 * e['low']:+.1f} to {100 * e['high']:+.1f})"
        for name, e in told["numbers"].items()
    )
    took = f"took {clock(done['seconds'])} of {clock(60 * session.config.assess.assess_budget)}"
    session.console.line(f"assess  {took}{_over(session, done)}")
    session.console.line(f"assess  verdict: {told['advice']}: {told['rule']}. {numbers}")


def _over(session: Session, done: dict) -> str:
    """Returns an explanation where the assessment overran its budget, else nothing."""
    over = done["seconds"] - 60 * session.config.assess.assess_budget
    if over < 1:
        return ""
    spent = ", ".join(
        f"{what} {clock(seconds)}"
        for what, seconds in sorted(done["spent"].items(), key=lambda item: -item[1])[:3]
        if seconds >= 1
    )
    return f": what is begun is ended, and cannot be told to the second beforehand; most went to {spent}"
