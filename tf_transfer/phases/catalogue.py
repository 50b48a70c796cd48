"""The catalogue: one row a phase, in the order of the story. Which model is built on which follows from `begins`.

To add a phase, add a row here, and a method in `methods/` if it trains in a new way: `phases/training.py: train` runs
every row that trains. A phase that trains nothing has a function of its name in `phases/stories.py`, but for `predict`,
`serve` and `compare`, which `cli.py` dispatches. Needs no TensorFlow: the command line reads it for its help.
"""

from dataclasses import dataclass

RANDOM, PRETRAINED = "random", "pretrained"
"""What a phase begins from, beside other phases; `--weights=source` makes `pretrained` the run's source model."""
SOURCE, TARGET = "source", "target"
"""The data that a phase reads: `--source_dataset` or `--dataset`."""
HEAD, FULL, SCRATCH = "head", "full", "scratch"
"""The phases of the two-phase story and its control, for what tells it: the assessment, its verdict, its page."""


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        name: of `--phase`.
        help: one line for `--help`.
        begins: its first weights: `random`, `pretrained`, or the name of another phase; None: it trains nothing.
        method: default of `--method`, the kind of training.
        data: `source` or `target`, the data set that it reads.
        head_only: whether it trains a head on a frozen backbone; else the whole network.
        labelled: whether its method is given labels; what it is not given, it cannot read.
        exported: whether `--phase=export` may write its model; among several that have ended, validation chooses.
        passes, steps: the default of `--epochs`: `passes`, or on little data as many as make `steps` steps.
        about: description of its model, for tables and the report.
        over: its model in a sentence of the report, behind "points over" or "points below".
    """

    name: str
    help: str
    begins: str | None = None
    method: str = "supervised"
    data: str = TARGET
    head_only: bool = False
    labelled: bool = True
    exported: bool = False
    passes: float = 8
    steps: int = 300
    about: str = ""
    over: str = ""


_ROWS = (
    Phase(
        "source",
        "train a source model from random weights on --source_dataset",
        begins=RANDOM,
        data=SOURCE,
        about="the source model, used as it is",
        over="the source model as it is",
    ),
    Phase(
        "head",
        "train a new head on the frozen pretrained backbone",
        begins=PRETRAINED,
        head_only=True,
        exported=True,
        passes=10,
        steps=400,
        about="a new head on the frozen backbone",
        over="the new head alone",
    ),
    Phase(
        "full",
        "unfreeze and go on from what head left",
        begins="head",
        exported=True,
        about="the head, then the whole network",
        over="the whole network",
    ),
    Phase(
        "scratch",
        "the control: the same network from random weights",
        begins=RANDOM,
        passes=20,
        steps=600,
        about="the same network from random weights, on the same labels",
        over="training from scratch",
    ),
    Phase("lr_find", "propose a learning rate for the next phase, with its curve"),
    Phase("evaluate", "score every trained model on the test split"),
    Phase("assess", "tell how well the network adapts, with controls, label budget, shift, and a verdict"),
    Phase("compare", "put --runs side by side"),
    Phase("export", "write the SavedModel and check it against the model"),
    Phase("predict", "label --inputs with an exported model"),
    Phase(
        "serve",
        "answer HTTP requests with an exported model, in TensorFlow Serving's REST shape, and a page to try it on",
    ),
    Phase("report", "write report.html"),
)
PHASES = {row.name: row for row in _ROWS}
ALL = ("head", "full", "evaluate", "export", "report")
"""What `--phase=all` means."""

MEANT = {
    **dict.fromkeys(("train", "training", "fit", "linear_probe", "probe"), "head"),
    **dict.fromkeys(("finetune", "fine_tune", "fine-tune", "tune"), "full"),
    **dict.fromkeys(("eval", "test", "validate", "val", "score"), "evaluate"),
    **dict.fromkeys(("infer", "inference", "classify"), "predict"),
    **dict.fromkeys(("save", "convert"), "export"),
}
"""Words that other programs use, with the phase that does it here."""

TRAINED = tuple(row.name for row in _ROWS if row.begins)
"""The phases that train a model, in the order of the story."""


def ancestors(name: str) -> tuple[str, ...]:
    """Returns the phases on whose models a phase's model is built, in the order of training.

    Pretrained weights may be a source model: a phase that begins from them has the phases on the source data.
    """
    begins = PHASES[name].begins if name in PHASES else None
    if begins == PRETRAINED:
        return on_source()
    return (*ancestors(begins), begins) if begins in PHASES else ()


def descendants(name: str) -> tuple[str, ...]:
    """Returns the phases whose models are built on a phase's model, directly or not."""
    return tuple(other for other in TRAINED if name in ancestors(other))


def again(name: str, from_source: bool) -> tuple[str, ...]:
    """Returns the phases to train again, in their order, where the data of one has changed.

    Args:
        name: of the phase.
        from_source: the pretrained weights come from this run's source phase.
    """
    line = (*ancestors(name), name, *descendants(name))
    return tuple(n for n in line if PHASES[n].data == PHASES[name].data or (from_source and name in on_source()))


def outdated(name: str) -> tuple[str, ...]:
    """Returns the folders of a run that go out of date when a phase trains again: models, then results about them."""
    models = descendants(name)
    artefacts = ("saved_model", "artefacts") if any(PHASES[m].exported for m in (name, *models)) else ()
    return (*models, "evaluate", *artefacts)


def on_source() -> tuple[str, ...]:
    """Returns the phases that train on the source data."""
    return tuple(name for name in TRAINED if PHASES[name].data == SOURCE)


def on_target() -> tuple[str, ...]:
    """Returns the phases that train on the target, whose models can be compared on it."""
    return tuple(name for name in TRAINED if PHASES[name].data == TARGET)


def controls() -> tuple[str, ...]:
    """Returns the controls: phases that train on the target from random weights."""
    return tuple(name for name in on_target() if PHASES[name].begins == RANDOM)


def exported() -> tuple[str, ...]:
    """Returns the phases whose model can be exported, the last stage of adaptation first; see `phases/choice.py`."""
    return tuple(name for name in reversed(TRAINED) if PHASES[name].exported)


def by_adaptation() -> tuple[str, ...]:
    """Returns the trained phases, the last stage of adaptation first, then the controls, then the source."""
    others = [name for name in on_target() if not PHASES[name].exported]
    return (*exported(), *others, *on_source())


def lenders() -> tuple[str, ...]:
    """Returns the phases whose backbone another run may take (`--weights=RUN_DIR`), the preferred one first."""
    return tuple(sorted(TRAINED, key=lambda name: (PHASES[name].data == TARGET, PHASES[name].head_only)))


def first(from_source: bool) -> set[str]:
    """Returns the phases that need no model of this run.

    Args:
        from_source: the pretrained weights come from this run's source phase.
    """
    if from_source:
        return set(on_source())
    return {name for name in TRAINED if PHASES[name].begins not in PHASES} | {"assess"}
