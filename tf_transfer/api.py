"""The Python interface: `fine_tune` does what `run.py` does, as one function."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tf_transfer import config as configs
from tf_transfer.config import Config
from tf_transfer.console import Console, Nowhere
from tf_transfer.errors import UserError, one_line
from tf_transfer.machine import cluster, compilations
from tf_transfer.machine.quiet import quiet
from tf_transfer.phases import catalogue
from tf_transfer.registry import split_list
from tf_transfer.run import lock
from tf_transfer.run.directory import RunDir

# Options that later commands may change: trained models do not depend on them (`source_dataset` until it has trained).
_FREE = {
    "run_dir", "strategy", "data_dir", "max_unreadable", "max_conflicts", "source_dataset", "feature_store",
    "feature_store_gb", "export_phase", "export_precision", "export_targets", "xla", "checkpoint_every", "on_nan",
    "worker_timeout", "assess_budget", "shifted", "backbones", "imports",
    "xla_cache", "xla_cache_gb",
}  # fmt: skip
# Options that hold for the command they are given to, as they depend on its machine.
_OF_A_MACHINE = {"strategy", "worker_timeout"}
# Options that belong to one network or one data set: a command that names another one does not inherit them. Weights
# that are a file or a run belong to one network; the words in `_ANY_WEIGHTS` stand for the weights of any.
_OF_A_NETWORK, _OF_A_DATA_SET = {"input_size", "weights"}, {"max_unreadable", "max_conflicts", "shifted"}
_ANY_WEIGHTS = {"imagenet", catalogue.RANDOM, catalogue.SOURCE}


@dataclass(frozen=True)
class Result:
    """The outcome of `fine_tune`.

    Attributes:
        run_dir: the run's folder.
        metrics: of `evaluation.score`, by model: `head`, `full`, and `source` and `scratch` if trained.
        saved_model: the exported model, for `serving.load`; None when not exported.
        report: the run's page; None when not written.
        assessment: the last valid record of `assess`, with its `verdict` and `blocks`; None without one.
    """

    run_dir: Path
    metrics: dict[str, dict] = field(default_factory=dict)
    saved_model: Path | None = None
    report: Path | None = None
    assessment: dict | None = None


def fine_tune(
    dataset: str,
    backbone: str | None = None,
    phases: Sequence[str] = catalogue.ALL,
    restart: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Result:
    """Fine-tunes a pretrained model on a data set and measures the outcome.

    Args:
        dataset: as `--dataset`: a TFDS name, `folder(path=...)`, `csv(path=...)`, `digits`, or a path.
        backbone: as `--backbone`; by default what the run directory records, `resnet50` in a new one.
        phases: names of phases, in order; or one text, as `--phase`.
        restart: train again phases that have ended in the run directory.
        quiet: print nothing.
        **options: any other flag by its name, such as `weights="imagenet"`, `run_dir="runs/mine"`,
            `epochs={"head": 5, "full": 8}`.

    Returns:
        Where everything is, and the metrics.

    Raises:
        UserError: bad input, in one line.
    """
    phases = split_list(phases) if isinstance(phases, str) else list(phases)
    phases = [name for phase in phases for name in (catalogue.ALL if phase == "all" else [phase])]
    given = {"dataset": dataset, **options} | ({"backbone": backbone} if backbone is not None else {})
    given = configs.canonical(given)
    given = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in given.items()}
    # A text is read as that of the flag is, `epochs="full:2"`.
    texts = {k for k, v in given.items() if isinstance(v, str) and k in configs.option_fields()}
    given = {k: configs.parse_option(k, v) if k in texts else v for k, v in given.items()}
    chief = cluster.find(given.get("strategy", "auto")).chief
    console = Console(Nowhere()) if quiet or not chief else Console()
    with writing(given):
        config, run = open_run(given, phases, restart, note=console.note)
        compilations.keep(config.run.xla_cache, int(config.run.xla_cache_gb * 1e9))
        # Imported after the options are checked: TensorFlow takes seconds, and a wrong option is refused at once.
        from tf_transfer.phases import stories
        from tf_transfer.report import summary
        from tf_transfer.session.session import Session

        session = Session(config, frozenset(given), run, console, "tf_transfer.fine_tune(...)", restart)
        stories.run(session, phases)
    folder = session.run.path
    # Results of models that have been trained again since are left out.
    records = session.run.records()
    metrics = {model: r["metrics"] for model, r in summary.evaluations(records).items()}
    assessment = summary.latest(summary.current(records), "assessment") or None
    places = [folder / "saved_model" / "1", folder / "report.html"]
    return Result(folder, metrics, *(p if p.exists() else None for p in places), assessment)


def writing(given: Mapping[str, Any]) -> contextlib.AbstractContextManager:
    """Returns a context that holds the lock of the run directory, if this process is the one that writes it."""
    asked = configs.from_values(given)
    if not cluster.find(asked.run.strategy).chief:
        return contextlib.nullcontext()
    return lock.locked(asked.run_dir)


def open_run(
    given: Mapping[str, Any],
    phases: Sequence[str],
    restart: bool = False,
    write: bool = True,
    note: Callable[[str], None] | None = None,
) -> tuple[Config, RunDir]:
    """Opens the run directory that the options name and completes them with what it records.

    Args:
        given: options by name.
        phases: names of the phases to run, in order.
        restart: where options differ, start the run over, if the first phase trains from the beginning.
        write: record the options at the first write of the command; False leaves the folder as it is.
        note: called with a line about the options that a run started over inherits.

    Returns:
        The complete configuration and the run directory.

    Raises:
        UserError: an option contradicts the recorded one, a name is wrong, or the folder cannot be used.
    """
    given = configs.canonical(given)
    asked = configs.from_values(given)
    run = RunDir(asked.run_dir, writes=cluster.find(asked.run.strategy).chief)
    run.config()
    if write:
        run.sweep()
    recorded = configs.flatten(run.config() or {})
    shared = {k: v for k, v in recorded.items() if k not in _training_options() | _OF_A_MACHINE}
    differ = _differences(given, _held(run, shared))
    inherited = _inherited(given, shared)
    complete = configs.from_values(given, configs.from_values(inherited))
    # A run can start over only with a phase that needs no model of the run: those are set aside.
    first = catalogue.first(complete.model.weights == catalogue.SOURCE)
    begins = set(phases[:1]) & first
    if differ and not (restart and begins):
        begin = (
            "" if begins else f" and --phase={next(name for name in (*catalogue.ALL, *first) if name in first)} first"
        )
        raise UserError(
            f"--run_dir={one_line(run.path)!r} was made with other options: {one_line('; '.join(differ), 400)}. "
            f"Use another --run_dir, or start it over with --restart{begin}."
        )
    _check_names(complete, phases)
    if note and (differ or inherited != shared):
        note(_taken(given, recorded, inherited))
    # Training options hold for one command; the last value of each is recorded, for the report. A run that starts over
    # drops them with the models they belong to.
    kept = inherited if differ else _inherited(given, recorded)
    record = configs.from_values(given, configs.from_values(kept))
    if write:
        run.propose(record.to_dict(), start_over=bool(differ))
    return complete, run


def _held(run: RunDir, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the recorded options that may not change: none as long as nothing is trained."""
    if not any(run.done(phase) for phase in (*catalogue.TRAINED, "assess/result")):
        return {}
    # An option that came after the version that recorded the run had its default.
    plain = {n: v for n, v in configs.flatten(Config().to_dict()).items() if shared and n not in _training_options()}
    held = {name: v for name, v in (plain | shared).items() if name not in _FREE}
    if any(
        phase in catalogue.on_source() or done.get("source_data")
        for phase in catalogue.TRAINED
        if (done := run.done(phase))
    ):
        held["source_dataset"] = shared.get("source_dataset")
    return held


def _inherited(given: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the recorded options without those that belong to a network or data set that is exchanged."""

    def exchanged(name: str) -> bool:
        return name in recorded and given.get(name, recorded[name]) != recorded[name]

    left = set(_OF_A_NETWORK) if exchanged("backbone") else set()
    if recorded.get("weights") in _ANY_WEIGHTS:
        left.discard("weights")
    left |= _OF_A_DATA_SET if exchanged("dataset") else set()
    return {name: value for name, value in recorded.items() if name not in left}


def _taken(given: Mapping[str, Any], recorded: Mapping[str, Any], inherited: Mapping[str, Any]) -> str:
    """Returns a sentence on which recorded options are inherited and which are not; defaults are left out."""
    plain = configs.flatten(Config().to_dict())

    def told(names: set[str]) -> str:
        said = {n: v for n, v in recorded.items() if n in names and n not in given and v != plain[n]}
        return one_line(", ".join(f"--{n}={v!r}" for n, v in said.items()), 400)

    parts = [
        f"the options of the run before hold where no other is given: {told(set(inherited) - {'run_dir'}) or 'none'}"
    ]
    if left := told((_OF_A_NETWORK | _OF_A_DATA_SET) - set(inherited)):
        parts.append(f"not {left}, of what is exchanged")
    if training := told(_training_options()):
        parts.append(f"nor {training}, as training options count for one command")
    return "; ".join(parts) + "."


def _check_names(config: Config, phases: Sequence[str]) -> None:
    """Refuses wrong names before anything heavy is imported or any data is read."""
    from tf_transfer.modalities import backbones
    from tf_transfer.models import weights

    if config.run.imports and cluster.is_multiworker(config.run.strategy):
        _connect(config)
    backbones.import_modules(config.run.imports)
    model = config.model
    backbone = backbones.find_backbone(model.backbone)
    backbones.check_size(backbone, model.input_size or backbone.size)
    backbones.layer_pattern(config.training.unfreeze)
    pretrained = [n for n in catalogue.TRAINED if n in phases and catalogue.PHASES[n].begins == catalogue.PRETRAINED]
    if pretrained and model.weights != catalogue.SOURCE:
        weights.check(backbone, model.backbone, model.weights)


def _connect(config: Config) -> None:
    """Connects the workers; once a module of `--import` has computed something in TensorFlow, they could not."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow greets on standard error when it is imported.
    with quiet(shown_on=ImportError):
        from tf_transfer.machine import strategy

        strategy.make_strategy(config.run.strategy, config.run.worker_timeout)


def _training_options() -> set[str]:
    return {name for name, (stage, _) in configs.option_fields().items() if stage == "training"}


def _differences(given: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    names = [n for n in given if n in recorded and given[n] != recorded[n]]
    return [f"--{n} was {recorded[n]!r}, now {given[n]!r}" for n in names]
