"""The catalogue: one row a phase, in the order of the story. What is built on what is computed from `begins` alone.

Adding a phase is adding a row here, and a method where it trains in a new way (`methods/`); a phase that trains nothing
has a function of its name in `phases/stories.py`. Needs no TensorFlow: the command line reads it for its help.
"""

from collections.abc import Collection
from dataclasses import dataclass

RANDOM, PRETRAINED = "random", "pretrained"
"""What a phase begins from, beside other phases; `--weights=source` makes `pretrained` the run's source model."""
SOURCE, TARGET = "source", "target"
"""The data that a phase reads: `--source_dataset` or `--dataset`."""


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        name: as `--phase` calls it.
        help: one line for `--help`.
        begins: what it trains from: `random`, `pretrained`, or the name of another phase; None: it trains nothing.
        method: spec of the kind of training, by default.
        data: `source` or `target`, what it reads.
        head_only: it trains a head on a frozen backbone, else the whole network.
        exported: `--phase=export` may write its model; of several the last one that is there.
        passes, steps: it makes so many passes over the data, and as many more as make so many steps on little data.
        about: what its model is, for tables and the report.
        over: how the report calls a gain over its model.
    """

    name: str
    help: str
    begins: str | None = None
    method: str = "supervised"
    data: str = TARGET
    head_only: bool = False
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
        over="over the source model as it is",
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
        over="over the new head alone",
    ),
    Phase(
        "full",
        "unfreeze and go on from what head left",
        begins="head",
        exported=True,
        about="the head, then the whole network",
        over="over the whole network",
    ),
    Phase(
        "scratch",
        "the control: the same network from random weights",
        begins=RANDOM,
        passes=20,
        steps=600,
        about="the same network from random weights, on the same labels",
        over="over training from scratch",
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

TRAINED = tuple(row.name for row in _ROWS if row.begins)
"""The phases that train a model, in the order of the story."""


def ancestors(name: str) -> tuple[str, ...]:
    """Returns the phases whose model a phase's model is made from, the first one first.

    A phase that begins from pretrained weights may begin from what a phase on the source data left.
    """
    begins = PHASES[name].begins if name in PHASES else None
    if begins == PRETRAINED:
        return on_source()
    return (*ancestors(begins), begins) if begins in PHASES else ()


def descendants(name: str) -> tuple[str, ...]:
    """Returns the phases whose model is made from that of a phase, directly or not."""
    return tuple(other for other in TRAINED if name in ancestors(other))


def outdated(name: str) -> tuple[str, ...]:
    """Returns the folders of a run that go out of date when a phase trains again: models, then what tells of them."""
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
    """Returns the phases that train on the target from random weights, to be compared with."""
    return tuple(name for name in on_target() if PHASES[name].begins == RANDOM)


def exported() -> tuple[str, ...]:
    """Returns the phases whose model can be exported, the one that is preferred first."""
    return tuple(name for name in reversed(TRAINED) if PHASES[name].exported)


def by_adaptation() -> tuple[str, ...]:
    """Returns the trained phases, the last stage of adaptation first, then the controls, then the source."""
    others = [name for name in on_target() if not PHASES[name].exported]
    return (*exported(), *others, *on_source())


def furthest(models: Collection[str]) -> str | None:
    """Returns which of some phases went furthest from another one's model; None where none goes on from another."""
    return next((name for name in by_adaptation() if name in models and PHASES[name].begins in PHASES), None)


def lenders() -> tuple[str, ...]:
    """Returns the phases whose backbone a run lends to another run, the one that is preferred first."""
    return tuple(sorted(TRAINED, key=lambda name: (PHASES[name].data == TARGET, PHASES[name].head_only)))


def first(from_source: bool) -> set[str]:
    """Returns the phases that go on from nothing that this run has trained.

    Args:
        from_source: the pretrained weights are those of this run's source phase.
    """
    if from_source:
        return set(on_source())
    return {name for name in TRAINED if PHASES[name].begins not in PHASES} | {"assess"}
