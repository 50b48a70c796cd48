"""The Python way in: what `run.py` does, as one function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tf_transfer import config as configs
from tf_transfer.config import Config
from tf_transfer.console import Console
from tf_transfer.errors import UserError, one_line
from tf_transfer.run_dir import CONFIG, RunDir

# Options of a run that later commands may change: they do not touch what was trained.
_FREE = {"run_dir", "strategy", "data_dir", "max_unreadable", "source_dataset"}


@dataclass(frozen=True)
class Result:
    """What `fine_tune` did.

    Attributes:
        run_dir: the run's folder.
        metrics: of `evaluation.score`, by model: `head`, `full`, and `source` or `scratch` where there are.
        saved_model: the exported model, for `serving.load`; None when not exported.
        report: the run's page; None when not written.
    """

    run_dir: Path
    metrics: dict[str, dict] = field(default_factory=dict)
    saved_model: Path | None = None
    report: Path | None = None


def fine_tune(
    dataset: str,
    backbone: str = "resnet50",
    phases: Sequence[str] = ("head", "full", "evaluate", "export", "report"),
    restart: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Result:
    """Fine-tunes a pretrained model on a data set and measures the outcome.

    Args:
        dataset: as `--dataset`: a TFDS name, `folder(path=...)`, `csv(path=...)`, `digits`, or a path.
        backbone: as `--backbone`.
        phases: what to do, in order.
        restart: train again what the run directory already holds.
        quiet: print nothing.
        **options: any other flag by its name, such as `weights="imagenet"`, `run_dir="runs/mine"`,
            `epochs={"head": 5, "full": 8}`.

    Returns:
        Where everything is, and the metrics.

    Raises:
        UserError: bad input, in one line.
    """
    console = Console(_Nowhere()) if quiet else Console()
    given = {"dataset": dataset, "backbone": backbone, **options}
    config, run = open_run(given, restart)
    # Only now, as importing TensorFlow takes seconds and a wrong option should not.
    from tf_transfer import phases as stories
    from tf_transfer.session import Session

    session = Session(config, frozenset(given), run, console, "tf_transfer.fine_tune(...)", restart)
    stories.run(session, phases)
    folder = session.run.path
    metrics = {r["model"]: r["metrics"] for r in session.run.records("evaluation")}
    places = [folder / "saved_model" / "1", folder / "report.html"]
    return Result(folder, metrics, *(p if p.exists() else None for p in places))


def open_run(given: Mapping[str, Any], restart: bool = False) -> tuple[Config, RunDir]:
    """Opens the run directory that the options name and completes them with what it records.

    Args:
        given: options by name.
        restart: start a run over whose options differ.

    Returns:
        The complete configuration, which is recorded, and the run directory.

    Raises:
        UserError: an option contradicts the one the run was made with.
    """
    asked = configs.from_values(given)
    run = RunDir(asked.run_dir)
    recorded = run.config()
    complete = asked
    if recorded is not None:
        shared = {k: v for k, v in configs.flatten(recorded).items() if k not in _training_options()}
        differ = _differences(given, shared)
        if differ and not restart:
            raise UserError(
                f"--run_dir={one_line(run.path)!r} was made with other options: {one_line('; '.join(differ), 400)}. "
                "Use another --run_dir, or --restart to start it over."
            )
        if differ:
            for name in (*configs.TRAINING_PHASES, "evaluate", "saved_model", "samples", "data"):
                run.forget(name)
        else:
            complete = configs.from_values(given, configs.from_values(shared))
    _check_names(complete)
    if recorded != complete.to_dict():
        run.write_json(CONFIG, complete.to_dict())
    return complete, run


def _check_names(config: Config) -> None:
    """Finds a wrong name before anything heavy is imported or any data is read."""
    from tf_transfer.models import backbones

    backbones.find_backbone(config.model.backbone)


def _training_options() -> set[str]:
    return {name for name, (stage, _) in configs.option_fields().items() if stage == "training"}


def _differences(given: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    names = [n for n in given if n in recorded and n not in _FREE and given[n] != recorded[n]]
    return [f"--{n} was {recorded[n]!r}, now {given[n]!r}" for n in names]


class _Nowhere:
    """A stream that drops what is written."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        """Drops text."""

    def flush(self) -> None:
        """Does nothing."""

    def isatty(self) -> bool:
        """Is no terminal."""
        return False
