"""The data sets of a command: opened and read once; records what trains and how often the test split was read."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tf_transfer.config import Config
from tf_transfer.console import Console
from tf_transfer.data import splits, training_data
from tf_transfer.data.file_source import CARVE
from tf_transfer.data.sources import open_source
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities.base import Modality
from tf_transfer.models import weights
from tf_transfer.report.formats import told_apart
from tf_transfer.run.directory import RunDir
from tf_transfer.session.growth import Change, change
from tf_transfer.training.problem import Problem


@dataclass
class DataSets:
    """Opens, splits and reads the data sets that a command names.

    Attributes:
        config: the configuration.
        run: the run directory, where readings are recorded.
        console: prints notes.
        input_size: size to which examples are brought.
        modality: of the examples.
        problem: says how labels are split.
    """

    config: Config
    run: RunDir
    console: Console
    input_size: int
    modality: Modality
    problem: Problem
    _opened: dict = field(default_factory=dict)
    _data: dict = field(default_factory=dict)
    _recorded: list = field(default_factory=list)
    _test: tuple | None = None

    def open(self, dataset: str):
        """Opens a data set by its spec, once a command, so that a folder is listed once."""
        if dataset not in self._opened:
            data = self.config.data
            more = {"carve": self._carve(dataset), "progress": self.console.bar("reading")}
            # They are options of the target.
            kept = {"group_by": data.group_by, "near_copies": data.near_copies} if dataset == data.dataset else {}
            opened = open_source(dataset, self.modality, data.data_dir, data.max_unreadable, **kept, **more)
            for name, value in kept.items():
                if value is not None and not hasattr(opened, "carve"):
                    raise UserError(
                        f"--{name}={one_line(value)}: expected a folder or a CSV file, whose files it compares; "
                        f"--dataset={one_line(dataset)!r} is none."
                    )
            self._opened[dataset] = opened
        return self._opened[dataset].again()

    def _carve(self, dataset: str) -> int:
        """Returns the way in which splits are taken out of files: that of the run's models, today's in a new run."""
        records = self.run.records()
        over = max((i for i, r in enumerate(records) if r["kind"] == "start_over"), default=-1)
        named = [r for r in records[over + 1 :] if r["kind"] == "data" and r.get("dataset") == one_line(dataset)]
        # Version 0.1.0 recorded none.
        return named[-1].get("carve", 1) if named else CARVE

    def training(self, dataset: str | None = None) -> TrainingData:
        """Loads the train and validation splits of the target, or of another data set, once a command."""
        name = dataset or self.config.data.dataset
        # The label budget holds for the target; the same data set as a source has all its labels.
        key = name, dataset is None
        if key not in self._data:
            begun = time.perf_counter()
            loaded = self._data[key] = self._load_training(name, few_shot=dataset is None)
            held = len(loaded.validation) if loaded.validation else 0
            of = {part: f" in {n:,} group{'s'[: n != 1]}" for part, n in loaded.facts.get("groups", {}).items()}
            sizes = f"{len(loaded.train):,} to train{of.get('train', '')}"
            sizes += f", {held:,} to validate{of.get('validation', '')}"
            self.console.line(
                f"data  {one_line(name, 60)}: {sizes}, {len(loaded.class_names)} classes "
                f"({_first(loaded.class_names)}), {time.perf_counter() - begun:.1f} s"
            )
        return self._data[key]

    def planned(self, dataset: str, few_shot: bool) -> tuple[splits.Source, splits.SplitPlan]:
        """Opens a data set and plans which examples train and which validate.

        Reads labels and decodes nothing; of folders and CSV files it reads every training file once, for the digest
        that places it.

        Args:
            dataset: its spec.
            few_shot: apply the label budget, as for the target.
        """
        data, source = self.config.data, self.open(dataset)
        per_class = data.examples_per_class if few_shot else None
        seed, split = self.config.run.seed, self.problem.split
        return source, training_data.plan_training(source, data.validation_fraction, seed, per_class, split)

    def class_counts(self) -> np.ndarray:
        """Returns int64 `[C]`: how many training examples of each class the target has; decodes none."""
        source, plan = self.planned(self.config.data.dataset, few_shot=True)
        return np.bincount(source.labels("train")[plan.train], minlength=len(source.class_names))

    def _load_training(self, dataset: str, few_shot: bool) -> TrainingData:
        source, plan = self.planned(dataset, few_shot)
        if few_shot:
            self._refuse_conflicts(source)
        weighing = self.config.data.class_weights
        loaded = training_data.load_training(source, dataset, plan, weighing, self.input_size, few_shot)
        if loaded.validation is None:
            budget = few_shot and self.config.data.examples_per_class is not None
            why = "the label budget leaves" if budget else "no class has examples enough: there is"
            self.console.note(f"{why} nothing to validate on: what is trained last is kept, unselected.")
        for kind, texts in loaded.facts["notes"].items():
            many = f"{len(texts)}, such as " if len(texts) > 1 else ""
            for text in texts[:1]:
                self.console.note(f"{kind}: {many}{text}")
        return loaded

    def _refuse_conflicts(self, source: splits.Source) -> None:
        """Refuses a test split in which no model can be right: one content under two classes."""
        most, found = self.config.data.max_conflicts, source.conflicts() if hasattr(source, "conflicts") else []
        if len(found) > most:
            raise UserError(
                f"--max_conflicts={most}, but {len(found)} {self.modality.many} of the test split stand under another "
                f"class too: {_listed(found, 3)}. Remove them or mend their labels, or raise --max_conflicts."
            )

    def sample(self, count: int) -> tuple[str, splits.Split, tuple[str, ...]]:
        """Returns some validation examples, or training examples where there are none; decodes no others.

        Returns:
            `validation` or `train`, the examples, and the class names.
        """
        source, plan = self.planned(self.config.data.dataset, few_shot=True)
        name, split = training_data.load_sample(source, plan, count, self.input_size)
        return name, split, tuple(source.class_names)

    def record(self, data: TrainingData) -> None:
        """Records the data that a phase is going to train on, once a command."""
        if any(data is recorded for recorded in self._recorded):
            return
        self._recorded.append(data)
        # Through JSON, so that they compare with recorded ones.
        facts = json.loads(json.dumps(data.facts, default=str))
        before = [r for r in self.run.records("data") if r.get("dataset") == facts["dataset"]]
        if not before or any(before[-1].get(name) != value for name, value in facts.items()):
            self.run.record("data", **data.facts)
        if data.facts["dataset"] == one_line(self.config.data.dataset):
            self.run.write_json("data/digests.json", {digest.hex(): place for digest, place in data.digests.items()})
            if data.contents:
                self.run.write_json(_contents_file(data.facts["split_digest"]), data.contents)

    def change_since(self, split_digest: str | None, source: splits.Source, plan: splits.SplitPlan) -> Change | None:
        """Compares the files of a data set with those that a phase recorded.

        Args:
            split_digest: of the data of the phase.
            source: the data set as it is now.
            plan: its splits.

        Returns:
            The change; None where the files were not recorded.
        """
        then = self.run.read_json(_contents_file(split_digest)) if split_digest else None
        return change(then, training_data.contents_of(source, plan)) if then else None

    def test(self) -> tuple[splits.Split, tuple[str, ...], list[str], list[str]]:
        """Reads the test split, once a command: for `evaluate` and `assess`.

        Returns:
            The split, the class names, the names of test examples that are training examples too, and the names of
            files that could not be read.
        """
        if self._test is None:
            self._test = self._read_test()
        return self._test

    def test_examples(self, size: int | None = None) -> splits.Split:
        """Returns the test split to compare an artefact with recorded predictions.

        It does not count as a reading, since no model and no option is chosen by it.

        Args:
            size: size to which examples are brought, if not `input_size`.
        """
        if self._test is not None and size is None:
            return self._test[0]
        return self.open(self.config.data.dataset).load("test", None, size or self.input_size)

    def _read_test(self) -> tuple[splits.Split, tuple[str, ...], list[str], list[str]]:
        source = self.open(self.config.data.dataset)
        if "test" not in source.splits:
            raise UserError(f"--dataset={one_line(self.config.data.dataset)!r} has no test split to evaluate on.")
        self._refuse_conflicts(source)
        split = source.load("test", None, self.input_size)
        duplicates = splits.find_duplicates({"test": split}, _places(self.run))
        read = [r["kind"] for r in self.run.records() if r["kind"] in ("test_read", "evaluation", "assessment")]
        before = read.count("test_read")
        # After a crash between reading and evaluating, the reading is already recorded: it counts once.
        if read[-1:] != ["test_read"]:
            self.run.record("test_read", n=len(split), times=before + 1)
            if before:
                self.console.note(f"the test split is read again, {before + 1} times in this run, as recorded.")
        return split, tuple(source.class_names), duplicates, source.notes.get("unreadable", [])

    def lent(self, split: splits.Split) -> list[str]:
        """Names the examples of a split on which the run was trained, or chosen, whose weights `--weights` names."""
        return splits.find_duplicates({"test": split}, self._lender())

    def copies(self, split: splits.Split) -> np.ndarray:
        """Says which examples of a test split this run was trained on, or that of `--weights`: bool `[N]`."""
        known = {*_places(self.run), *self._lender()}
        return np.array([digest in known for digest in split.digests], bool)

    def _lender(self) -> dict[bytes, tuple[str, str]]:
        """Returns the `_places` of the run whose weights `--weights` names; {} where it names none."""
        try:
            path = weights.weights_file(self.config.model.weights)
        except UserError:
            # Published or random weights, or a run that is gone by now.
            return {}
        return _places(RunDir(path.parent.parent))

    def warnings(self, duplicates: list[str], unreadable: list[str], lent: list[str] = ()) -> list[dict]:
        """Prints notes about bad test examples; returns the warnings that are not recorded yet.

        Args:
            duplicates: third value of `test`.
            unreadable: fourth value of `test`.
            lent: result of `lent`.
        """
        many, texts = self.modality.many, []
        trained = f"are among those that --weights={one_line(self.config.model.weights, 60)} was trained on"
        for names, what, more in (
            (unreadable, "could not be read", " and are left out"),
            (duplicates, "also stand among the training ones", ""),
            (lent, trained, ""),
        ):
            if names:
                self.console.note(f"{len(names)} test {many} {what}, such as {names[0]}")
                texts.append(f"{len(names)} test {many} {what}{more}: {_listed(names)}")
        there = {r.get("text") for r in self.run.records("warning")}
        return [{"kind": "warning", "text": text} for text in texts if text not in there]


def _places(run: RunDir) -> dict[bytes, tuple[str, str]]:
    """Returns split and name of each example that a run trained on or was chosen by, by the digest of its inputs."""
    kept = run.read_json("data/digests.json") or {}
    return {bytes.fromhex(digest): tuple(place) for digest, place in kept.items()}


def _contents_file(split_digest: str) -> str:
    # A file for each state of the data: the phases of a run may have seen several.
    return f"data/contents-{split_digest}.json"


def _first(class_names: Sequence[str], most: int = 5) -> str:
    """Returns the first class names in one text, with dots where there are more."""
    names = told_apart(class_names[:most], 30)
    return ", ".join(names) + (", ..." if len(class_names) > most else "")


def _listed(names: list[str], most: int = 20) -> str:
    """Returns the first names, and how many more there are."""
    more = [f"and {len(names) - most:,} more"] if len(names) > most else []
    return "; ".join([*names[:most], *more])
