"""The options of a run: frozen dataclasses, one a stage. Flags are made from their fields: help, type, range."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_transfer.errors import UserError, one_line
from tf_transfer.phases.catalogue import SOURCE, TRAINED, exported
from tf_transfer.registry import split_list, unknown_name


def option(default: Any, help: str, kind: type = str, choices=None, low=None, high=None, per_phase=False) -> Any:
    """Returns a dataclass field from which a flag is made.

    Args:
        default: None where the rules decide from the data.
        help: one line for `--help`.
        kind: str, int or float.
        choices: the allowed values.
        low: lower bound, inclusive.
        high: upper bound, inclusive.
        per_phase: also takes a mapping such as `{"head": 5, "full": 8}`, as a flag `head:5,full:8`.
    """
    facts = {"help": help, "kind": kind, "choices": choices, "low": low, "high": high, "per_phase": per_phase}
    return dataclasses.field(default=default, metadata=facts)


@dataclass(frozen=True)
class Data:
    """Which data, and how it is cut into splits."""

    dataset: str = option("cifar10", "target: a TFDS name, folder(path=...), csv(path=...), digits, or a path")
    source_dataset: str = option(None, "what --phase=source trains on, such as rendered_digits")
    data_dir: str = option(None, "where TFDS keeps its data sets (default ~/tensorflow_datasets)")
    validation_fraction: float = option(0.1, "share of the training data that validates", float, low=0.01, high=0.9)
    examples_per_class: int = option(None, "few-shot: labelled examples a class, validation included", int, low=1)
    class_weights: str = option(
        "none",
        "for uneven classes: balanced weighs them against their frequency, adjusted moves the logits by it",
        choices=("none", "balanced", "adjusted"),
    )
    group_by: str = option(
        None, "files of one group stay in one split: a column of the CSV file, folder, or a regex over the path"
    )
    near_copies: int = option(
        None, "pictures whose 64-bit likeness differs in so few bits stay in one split, such as 3", int, low=0, high=3
    )
    max_unreadable: int = option(0, "how many unreadable files may be skipped", int, low=0)
    max_conflicts: int = option(0, "how many files of the test split may stand under another class too", int, low=0)


@dataclass(frozen=True)
class Model:
    """Which network, from where."""

    backbone: str = option("resnet50", "a keras.applications network, such as 'mobilenet(alpha=0.25)', or small_resnet")
    weights: str = option(
        "imagenet", "imagenet, random, a .weights.h5, .h5 or .keras file, a run directory, or source (this run's)"
    )
    input_size: int = option(
        None,
        "size of the network's input, such as the side in pixels (default: its native size)",
        int,
        low=1,
        high=1 << 20,
    )
    dropout: float = option(0.0, "dropout before the head", float, low=0.0, high=0.95)


@dataclass(frozen=True)
class Training:
    """How a phase trains; None lets the rules of `session/plan.py` decide from the data. Resolved, it is the plan."""

    method: str = option(None, "kind of training, such as supervised (default: the phase's own)", per_phase=True)
    epochs: float = option(None, "passes over the training data", float, low=0.001, high=1e6, per_phase=True)
    batch_size: int = option(None, "examples a step over all replicas", int, low=1, high=1 << 16, per_phase=True)
    accumulate: int = option(
        1, "parts a batch is computed in, to need less memory", int, low=1, high=256, per_phase=True
    )
    learning_rate: float = option(None, "peak learning rate", float, low=1e-9, high=1e3, per_phase=True)
    optimizer: str = option(
        None, "sgd(momentum=0.9, nesterov=True), adamw(weight_decay=0.004), or for a head lbfgs", per_phase=True
    )
    schedule: str = option("cosine", "cosine, linear, step(at=(0.3, 0.6, 0.9)) or constant", per_phase=True)
    warmup: float = option(
        None, "share of a phase over which the rate rises", float, low=0.0, high=0.99, per_phase=True
    )
    layer_decay: float = option(1.0, "factor on the rate from stage to stage downwards", float, low=0.01, high=1.0)
    unfreeze: str = option("", "full: regular expression over stageN/layer; the rest stays frozen")
    bn: str = option(
        None,
        "BatchNorm statistics: frozen, train, or local = each replica its own (default: by phase, data and validation)",
        choices=("frozen", "train", "local"),
        per_phase=True,
    )
    regularizer: str = option(None, "lambda*R(theta): l2(1e-4), l2sp(0.01, 1e-4), none; lbfgs: l2path", per_phase=True)
    label_smoothing: float = option(
        0.0, "share of the target spread over all classes", float, low=0.0, high=0.9, per_phase=True
    )
    augment: str = option(None, "none, or a list of flip, crop, resized_crop, mixup, cutmix")
    feature_views: int = option(
        None, "head: views of each example whose features are computed, once; 0 = in each step", int, low=0, high=64
    )
    ema: float = option(
        None, "decay of a moving average of the weights, such as 0.999", float, low=0.0, high=0.99999, per_phase=True
    )
    patience: int = option(
        None, "epochs without a better validation before a phase stops; 0 = never", int, low=0, per_phase=True
    )
    clip_norm: float = option(None, "largest norm of the gradient; 0 = none", float, low=0.0, high=1e9, per_phase=True)


@dataclass(frozen=True)
class Run:
    """Where, on what, and how repeatably."""

    run_dir: str = option(None, "where the run is kept (default runs/DATASET-BACKBONE)")
    seed: int = option(0, "of the splits, the head, the order and the augmentation", int, low=0, high=2**31 - 1)
    feature_store: str = option(None, "where features are kept, or off (default ~/.cache/tf_transfer/features)")
    feature_store_gb: float = option(20.0, "size in GB above which the oldest features go", float, low=0.0, high=1e6)
    checkpoint_every: str = option("5m", "while training: steps such as 500, a time such as 5m, or off")
    on_nan: str = option(
        "stop",
        "when training diverges: stop, or rollback to the last checkpoint at half the rate",
        choices=("stop", "rollback"),
    )
    strategy: str = option(
        "auto",
        "one device; mirrored over all; multiworker, over hosts",
        choices=("auto", "one", "mirrored", "multiworker", "tpu"),
    )
    worker_timeout: float = option(
        300.0, "seconds without an answer after which a worker is lost", float, low=5.0, high=1e5
    )
    precision: str = option("auto", "of the computation", choices=("auto", "float32", "bfloat16"))
    xla: str = option(
        "auto", "compile the network with XLA; auto: on GPUs, where it saves time", choices=("auto", "on", "off")
    )
    xla_cache: str = option(None, "where compilations for GPUs are kept, or off (default ~/.cache/tf_transfer/xla)")
    xla_cache_gb: float = option(5.0, "size in GB above which the oldest compilations go", float, low=0.0, high=1e6)
    imports: str = option(None, "modules to import, which register networks, sources and the like: my_module,...")
    export_precision: str = option(None, "of the exported model (default: as trained)", choices=("float32", "bfloat16"))
    export_phase: str = option(
        "auto",
        "whose model to export: auto, what validates best, the simpler one within a standard error; or a phase",
        choices=("auto", *reversed(exported())),
    )
    export_targets: str = option(
        None, "what else to export: none, or a list of keras, weights, litert_float16, litert_int8, onnx"
    )


@dataclass(frozen=True)
class Assess:
    """What an assessment looks at, and for how long."""

    assess_budget: float = option(
        5.0, "minutes; decides how many labels, seeds and examples are tried", float, low=0.1, high=1e5
    )
    shifted: str = option(None, "your data under other conditions, name:spec,..., such as phone:folder(path=...)")
    backbones: str = option(None, "other candidates to forecast and try, such as 'mobilenet_v2|resnet50'")


# Options whose flag has another name, because it is a keyword of Python.
FLAGS = {"imports": "import"}
# Older names of options, which flags, flag files, `fine_tune` and recorded runs may use.
ALIASES = {"image_size": "input_size"}
STAGES = {"data": Data, "model": Model, "training": Training, "run": Run, "assess": Assess}


@dataclass(frozen=True)
class Config:
    """The whole configuration of a run."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    run: Run = Run()
    assess: Assess = Assess()

    def __post_init__(self):
        for stage in STAGES:
            for f in dataclasses.fields(getattr(self, stage)):
                _check(f, getattr(getattr(self, stage), f.name))
        if self.model.weights == SOURCE and not self.data.source_dataset:
            raise UserError(
                "--weights=source means the model that --phase=source trains here: give --source_dataset too."
            )

    @property
    def run_dir(self) -> str:
        """The run's folder, by default named after what is transferred."""
        if self.run.run_dir:
            return self.run.run_dir
        plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in f"{self.data.dataset}-{self.model.backbone}")
        return f"runs/{plain.strip('-')[:80]}"

    def to_dict(self) -> dict:
        """Returns nested plain values that `from_values` takes back."""
        return dataclasses.asdict(self)


def option_fields() -> dict[str, tuple[str, dataclasses.Field]]:
    """Returns every option as `{name: (stage, field)}`, in the order of the stages."""
    return {f.name: (stage, f) for stage, cls in STAGES.items() for f in dataclasses.fields(cls)}


def canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """Renames options that were given by an older name, see `ALIASES`.

    Raises:
        UserError: an option is given by both of its names.
    """
    if both := [old for old, new in ALIASES.items() if old in values and new in values]:
        raise UserError(f"--{both[0]} is the older name of --{ALIASES[both[0]]}: give one of the two.")
    return {ALIASES.get(name, name): value for name, value in values.items()}


def flag(name: str) -> str:
    """Returns the name of an option on the command line."""
    return FLAGS.get(name, name)


def from_values(values: Mapping[str, Any], base: Config | None = None) -> Config:
    """Builds a configuration from flat option values over `base`.

    Raises:
        UserError: an unknown option, or a value outside its range.
    """
    known = option_fields()
    stages: dict[str, dict] = {stage: {} for stage in STAGES}
    for name, value in canonical(values).items():
        if name not in known:
            raise unknown_name("option", name, sorted(known))
        stages[known[name][0]][name] = value
    base = base or Config()
    return Config(**{s: dataclasses.replace(getattr(base, s), **v) for s, v in stages.items()})


def flatten(nested: Mapping[str, Mapping]) -> dict[str, Any]:
    """Flattens what `Config.to_dict` returned to option values; drops options that no longer exist."""
    known = option_fields()
    return {n: v for stage in nested.values() for n, v in canonical(stage).items() if n in known}


def parse_option(name: str, text: str) -> Any:
    """Parses the text of a flag to the value of its option.

    Raises:
        UserError: the text is not such a value, or gives values by phase to an option that takes one.
    """
    facts = option_fields()[name][1].metadata
    parts = [p.partition(":") for p in split_list(text)] if facts["per_phase"] else []
    # A word and a colon can only be a phase: no value of an option that takes phases begins like that.
    if any(p[0].strip().isidentifier() and p[1] for p in parts):
        wrong = [p[0] for p in parts if p[0].strip() not in TRAINED or not p[1]]
        if wrong:
            raise UserError(
                f"--{name}={one_line(text)!r}: expected PHASE:VALUE,... with PHASE one of {', '.join(TRAINED)}."
            )
        return {p[0].strip(): _convert(name, facts["kind"], p[2]) for p in parts}
    return _convert(name, facts["kind"], text)


def pick(value: Any, phase: str) -> Any:
    """Returns the value of an option for one phase."""
    return value.get(phase) if isinstance(value, Mapping) else value


def _convert(name: str, kind: type, text: str) -> Any:
    try:
        return kind(text.strip())
    except ValueError:
        words = {int: "a whole number", float: "a number"}[kind]
        raise UserError(f"--{name}: expected {words}, got {one_line(text)!r}.") from None


def _check(f: dataclasses.Field, value: Any) -> None:
    facts = f.metadata
    if isinstance(value, Mapping):
        if not facts["per_phase"] or set(value) - set(TRAINED):
            raise UserError(f"--{f.name}: a value for each of {', '.join(TRAINED)} is not what {one_line(value)} is.")
        for each in value.values():
            _check(f, each)
        return
    if value is None and f.default is None:
        return
    numeric = facts["kind"] in (int, float) and isinstance(value, (int, facts["kind"])) and not isinstance(value, bool)
    if not (numeric or (facts["kind"] is str and isinstance(value, str))):
        raise UserError(f"--{f.name}: expected a value of type {facts['kind'].__name__}, got {one_line(repr(value))}.")
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"--{f.name}: a character 0 stands in {one_line(value)!r}; take it out.")
    if facts["choices"] and value not in facts["choices"]:
        raise UserError(f"--{f.name}: expected one of {', '.join(facts['choices'])}, got {one_line(value)!r}.")
    # Written so that NaN, which compares with nothing, is refused.
    if numeric and not (
        (facts["low"] is None or value >= facts["low"]) and (facts["high"] is None or value <= facts["high"])
    ):
        upper = f" to {facts['high']}" if facts["high"] is not None else " or more"
        raise UserError(f"--{f.name}: expected {facts['low']}{upper}, got {value}.")
