"""The assess phase from start to end: features, forecasts, trainings, the test pictures once, and the verdict."""

import dataclasses
import uuid

import numpy as np

from tf_transfer import runtime
from tf_transfer.assess import domain, drift, forecast, outcome, shift, study, trust
from tf_transfer.assess.clock import Clock
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.trials import FOLDER
from tf_transfer.config import Config
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import comparison, verdict
from tf_transfer.records import encoded
from tf_transfer.session import Session

# What decides an assessment beside the options of the run.
_OPTIONS = ("assess_budget", "shifted", "backbones")
_RESULT = f"{FOLDER}/result"


def assess(session: Session) -> None:
    """Measures how well the pretrained network adapts to the target, and says what to do.

    Raises:
        UserError: several hosts; options that name nothing; data that cannot be read.
    """
    if runtime.several_hosts(session.strategy):
        raise UserError("--phase=assess runs on one host, as it plans by its own clock: give --strategy=mirrored.")
    asked = _asked(session)
    done = session.run.done(_RESULT)
    if done and done["asked"] == asked and not session.begins_anew(_RESULT):
        session.console.line("assess  already done; the test pictures are not read again (--restart would)")
    else:
        done = _assess(session, asked)
    if (session.run.records("assessment") or [{}])[-1].get("id") != done["id"]:
        # A crash may have come between the two.
        session.run.record("assessment", phase="assess", **{k: v for k, v in done.items() if k != "restart"})
    _tell(session, done)


def check(config: Config) -> None:
    """Finds options of an assessment that name nothing, before anything is read or trained.

    Raises:
        UserError: see there.
    """
    shift.parse(config.assess.shifted)
    for spec in candidates(config):
        study.candidate(config.model, spec)


def candidates(config: Config) -> list[str]:
    """Returns the specs of `--backbones`."""
    return [spec.strip() for spec in (config.assess.backbones or "").split("|") if spec.strip()]


def _asked(session: Session) -> dict:
    models = {p: (session.run.done(p) or {}).get("seconds") for p in ("head", "full", "scratch")}
    return {**{name: getattr(session.config.assess, name) for name in _OPTIONS}, "models": models}


def _assess(session: Session, asked: dict) -> dict:
    options = session.config.assess
    clock = Clock(options.assess_budget, session.console)
    session.note_restart()
    if session.restart:
        session.run.forget(FOLDER)
    found = study.begin(session, clock, candidates(session.config))
    specs = shift.parse(options.shifted)
    shifted = clock.timed("shift", lambda: shift.load(session, specs, found.data.class_names))
    study.train(found)
    # Everything is trained: only now are the test pictures read.
    clock.say("the test pictures")
    if (test := _test(session, clock)) is not None:
        found.measured["test"] = test
    if not found.measured:
        raise UserError("--phase=assess: there are neither test nor validation pictures to measure on.")
    clock.timed("predictions", lambda: study.predict(found))
    blocks = _blocks(found, shifted)
    done = {
        "id": uuid.uuid4().hex[:12],
        "asked": asked,
        "restart": session.restart_id,
        "split": found.split,
        "n": {name: len(split) for name, split in found.measured.items()},
        "blocks": blocks,
        "verdict": dataclasses.asdict(_verdict(found, blocks)),
        "left_out": clock.left_out,
        "seconds": clock.seconds - clock.left(),
        "spent": clock.spent,
        **runtime.facts(session.strategy, session.precision),
    }
    with session.run.write_folder(_RESULT) as folder:
        logits = {f"{trial} {name}": v for trial, sets in found.logits.items() for name, v in sets.items()}
        labels = {f"labels {name}": split.labels for name, split in found.measured.items()}
        np.savez(folder / "predictions.npz", **logits, **labels)
        (folder / "done.json").write_bytes(encoded(done))
    return session.run.done(_RESULT)


def _test(session: Session, clock: Clock):
    if "test" not in session.open(session.config.data.dataset).splits:
        clock.leave_out("the test split", "the data set has none: validation, which chose epochs and L2, tells instead")
        return None
    split, _, duplicates, _ = session.test_data()
    if duplicates:
        session.console.note(
            f"{len(duplicates)} test pictures also stand among the training ones, such as {duplicates[0]}"
        )
    return split


def _blocks(found: study.Study, shifted: dict) -> dict:
    """Returns what each block measured."""
    clock = found.clock
    kinds = [k for k in ("full", "head", "scratch") if Trial(k, found.top, found.seed) in found.ran]
    blocks = {"outcome": clock.timed("outcome", lambda: outcome.measure(found))}
    blocks["gain"] = clock.timed("gain", lambda: outcome.gain(found))
    blocks["forecast"] = clock.timed("forecast", lambda: forecast.measure(found))
    blocks["distance"] = clock.timed("distance", lambda: domain.measure(found, shifted))
    blocks["shift"], logits = clock.timed("shift", lambda: shift.measure(found, kinds, shifted))
    blocks["trust"] = clock.timed("trust", lambda: trust.measure(found, kinds[0], shifted, logits[kinds[0]]))
    blocks["drift"] = clock.timed("drift", lambda: drift.measure(found, shifted))
    blocks["latency"] = outcome.latency(found, kinds[0])
    return blocks


def _verdict(found: study.Study, blocks: dict) -> verdict.Verdict:
    head, full = (found.correct(kind, found.top) for kind in ("head", "full"))
    if head is None or full is None:
        return verdict.Verdict(
            verdict.UNDECIDED, "no network was fine-tuned in the time there was: raise --assess_budget"
        )
    prefers = outcome.preferred(found, found.top)
    best, scratch = (full if prefers == "full" else head), found.correct("scratch", found.top)
    estimates = {
        "full - head": comparison.accuracy_difference(full, head),
        "best - blind": comparison.accuracy_difference(best[:1], outcome.blind(found)),
    }
    if scratch is not None:
        estimates["best - scratch"] = comparison.accuracy_difference(best, scratch)
    return verdict.decide(estimates, prefers, blocks["gain"]["forecast"])


def _tell(session: Session, done: dict) -> None:
    told, kinds = done["verdict"], done["blocks"]["outcome"]["kinds"]
    for kind, facts in kinds.items():
        accuracy = facts["accuracy"][done["split"]]
        session.console.line(
            f"assess  {kind:<12} {100 * accuracy['value']:5.1f} % ({100 * accuracy['low']:.1f} to "
            f"{100 * accuracy['high']:.1f}) on {accuracy['n']:,} {one_line(done['split'])} pictures"
        )
    numbers = "; ".join(
        f"{name} {100 * e['value']:+.1f} points ({100 * e['low']:+.1f} to {100 * e['high']:+.1f})"
        for name, e in told["numbers"].items()
    )
    session.console.line(f"assess  verdict: {told['advice']}: {told['rule']}. {numbers}")
