"""The story of a run: one short function for each phase that trains nothing; read from the top down.

What draws, and what assesses, is imported by the story that needs it: the others start a second sooner.

`training.train` is the function of all that train. `predict`, `serve` and `compare` need no session: see `cli.py`.
"""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_transfer.errors import LostWorkerError, UserError, one_line
from tf_transfer.export import targets
from tf_transfer.machine import cluster
from tf_transfer.machine.strategy import barrier, several_hosts
from tf_transfer.phases import catalogue, choice, evaluate_artefact, export_targets
from tf_transfer.phases import evaluate as scoring
from tf_transfer.phases import export as exporting
from tf_transfer.phases.catalogue import PHASES, TRAINED
from tf_transfer.phases.training import begun, not_begun, train
from tf_transfer.registry import Registry, unknown_name
from tf_transfer.report import control, summary
from tf_transfer.session import plan as plans
from tf_transfer.session import prepare
from tf_transfer.session import train as fitting
from tf_transfer.session.session import Session
from tf_transfer.training import lr_finder

# Errors that TensorFlow raises where another worker is gone.
_LOST = (
    tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.InternalError,
)  # fmt: skip

# Functions of a Session by phase, for the phases that train nothing.
STORIES = Registry("--phase")


@STORIES.register("lr_find")
def lr_find(session: Session) -> None:
    """Proposes a learning rate for the phase that would train next, see `_next`."""
    from tf_transfer.report import plots

    phase = _next(session)
    data = session.datasets.training()
    classifier = begun(session, phase, data)
    facts = session.facts_of(data, classifier)
    plan = session.plan(phase, facts)
    if solved := plans.solved(plan.optimizer):
        # Search as if the head trained in steps: a solved head has no rate.
        plan = session.plan(phase, facts, optimizer="sgd", regularizer=None)
    ready = prepare.prepare(session, phase, classifier, data, plan)
    found = lr_finder.find_learning_rate(
        ready.method,
        ready.streams,
        plan,
        session.config.run,
        session.strategy,
        progress=session.progress("lr_find"),
    )
    if solved:
        session.console.note("by default the head is solved and has no rate: this one is for --optimizer=head:sgd.")
    session.run.record("lr_find", phase=phase, **found)
    curve = session.run.write_text(
        "lr_find.svg", plots.rate_search(found["rates"], found["losses"], found["suggestion"])
    )
    session.console.line(
        f"lr_find  --learning_rate={phase}:{found['suggestion']:.2g} is proposed; the curve: {one_line(curve)}"
    )


def _next(session: Session) -> str:
    """Returns the phase that would train next: the last one of `--phase=all` whose beginning exists."""
    ready = [name for name in catalogue.ALL if name in catalogue.TRAINED]
    return [n for n in ready if PHASES[n].begins not in PHASES or session.run.done(PHASES[n].begins)][-1]


@STORIES.register("evaluate")
def evaluate(session: Session) -> None:
    """Scores every model of the run, or an artefact, on the test split; besides it, only `assess` reads that."""
    if session.artefact:
        evaluate_artefact.evaluate(session)
    else:
        scoring.evaluate(session)


@STORIES.register("assess")
def assess(session: Session) -> None:
    """Assesses how well the network adapts, at what cost, and what to do."""
    from tf_transfer.assess import assessment

    assessment.assess(session)


@STORIES.register("export")
def export(session: Session) -> None:
    """Writes the artefacts of the model that validates best, each compared with what was measured of that model."""
    chosen = choice.decide(session.run, session.config.run.export_phase)
    if chosen is None:
        raise UserError(f"--phase=export {not_begun(session, catalogue.exported()[-1])}")
    choice.check(session.run, session.config.run.export_phase)
    if chosen.why:
        session.console.line(f"export  {choice.told(chosen)}")
    exporting.export(session, chosen.model)
    export_targets.export(session, chosen.model)


@STORIES.register("report")
def report(session: Session) -> None:
    """Writes the run's page, `report.html`."""
    from tf_transfer.report import page

    choice.decide(session.run, session.config.run.export_phase)
    records, config = session.run.records(), session.config
    if not any(r.get("kind") in ("phase_end", "assessment") for r in records):
        raise UserError(
            f"--phase=report: nothing has been trained in {one_line(session.run.path)} yet; run --phase=head first."
        )
    title = f"{config.data.dataset} \N{EN DASH} {config.model.backbone}"
    html = page.render(records, config.to_dict(), title, session.modality.one, session.modality.many)
    found = summary.evaluations(records)
    metric = summary.leading(records)
    told = ", ".join(f"{m} {r['metrics'][metric]['value']:.3f}" for m, r in found.items() if metric in r["metrics"])
    told = f": {summary.main_split(records)} {control.named(metric)} {told}" if found else ""
    session.console.line(f"report  {one_line(session.run.write_text('report.html', html))}{told}")


def run(session: Session, names: Sequence[str]) -> None:
    """Runs phases in the order given.

    Raises:
        UserError: a name is wrong, found before anything is read or trained; or a phase fails.
    """
    stories = [_story(name) for name in names]
    fitting.check_specs(session.config)
    for name in set(names) & set(TRAINED):
        plans.check(session.config.training, name, session.modality)
    if "assess" in names:
        from tf_transfer.assess import assessment

        assessment.check(session.config)
    if "export" in names:
        choice.check(session.run, session.config.run.export_phase, names)
        targets.parse(session.config.run.export_targets, session.modality)
    if names[1:] and names[0] in TRAINED and PHASES[names[0]].data == catalogue.SOURCE:
        # A wrong target is refused now, not after the source model has been trained.
        session.datasets.open(session.config.data.dataset)
    # Workers must connect before anything is computed.
    hosts = several_hosts(session.strategy) if cluster.is_multiworker(session.config.run.strategy) else False
    session.phases = names
    for name in TRAINED:
        # After a crash between the end of a phase and its record, record the end now.
        fitting.note_end(session.run, name)
    for story in stories:
        try:
            story(session)
            if hosts:
                # The next phase reads the files that the chief has written.
                barrier(session.strategy)
        except _LOST as e:
            if not hosts:
                raise
            # TensorFlow's message begins with the waiting operation: leave it out.
            reason = one_line(e.message.rpartition("}} ")[2].partition("\n")[0], 120)
            raise LostWorkerError(
                f"a worker no longer answers ({reason}). Start all of them again with the same command: the "
                "run goes on from its last checkpoint."
            ) from e
    session.end()


def _story(name: str) -> Callable[[Session], None]:
    """Returns the function of a session that runs a phase.

    Raises:
        UserError: there is no such phase.
    """
    if name not in (*TRAINED, *STORIES.names()):
        known = sorted([*TRAINED, *STORIES.names()])
        raise unknown_name("--phase", name, known, catalogue.MEANT.get(name.lower()))
    return functools.partial(train, name=name) if name in TRAINED else STORIES.factory(name)
