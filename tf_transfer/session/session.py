"""The session of one command, shared by its phases: run directory, strategy, data sets, models, plans."""

import dataclasses
import json
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tf_transfer.config import Config, Training, pick
from tf_transfer.console import Console, Nowhere
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.features.store import OFF, FeatureStore
from tf_transfer.machine import devices
from tf_transfer.machine.compilations import cache_folder
from tf_transfer.machine.precision import precision_policy, resolve_precision
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.modalities import backbones, base
from tf_transfer.models import batchnorm, weights
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases import catalogue
from tf_transfer.run.directory import RunDir
from tf_transfer.session import compiling
from tf_transfer.session import plan as plans
from tf_transfer.session.datasets import DataSets
from tf_transfer.training.problem import CLASSIFICATION, Problem

# File of the run with the id of the current --restart.
RESTART = "restart.json"


@dataclass
class Session:
    """One command on one run directory.

    Attributes:
        config: the configuration, completed with what the run directory records.
        given: names of the options that the user set.
        run: the run directory.
        console: prints lines and progress.
        command: the command line, for the records.
        restart: train again phases that have ended.
        phases: phases of the command, in order.
        artefact: path that `evaluate` scores in place of the run's models; None: the models.
    """

    config: Config
    given: frozenset[str]
    run: RunDir
    console: Console
    command: str = ""
    restart: bool = False
    phases: Sequence[str] = ()
    artefact: str | None = None
    _compared: set = field(default_factory=set)

    @cached_property
    def strategy(self):
        """The tf.distribute strategy."""
        return make_strategy(self.config.run.strategy, self.config.run.worker_timeout)

    @cached_property
    def precision(self) -> str:
        """`float32` or `bfloat16`."""
        return resolve_precision(self.config.run.precision, self.backbone.dense)

    @cached_property
    def backbone(self) -> backbones.Backbone:
        """The parsed backbone spec."""
        return backbones.find_backbone(self.config.model.backbone)

    @property
    def modality(self) -> base.Modality:
        """The modality of the network's examples."""
        return base.find(self.backbone.modality)

    @property
    def input_size(self) -> int:
        """Size of the network's input, in the unit of its modality."""
        return self.config.model.input_size or self.backbone.size

    def rows_at_once(self, light: int = 128) -> int:
        """Returns how many examples are predicted at once, see `modalities.base.rows_at_once`."""
        return base.rows_at_once(self.modality.effort(self.input_size), light, 32)

    @cached_property
    def datasets(self) -> DataSets:
        """The data sets of the command."""
        return DataSets(self.config, self.run, self.console, self.input_size, self.modality, self.problem)

    @cached_property
    def restart_id(self) -> str | None:
        """Id of this --restart; the same command after a crash gets the same id. None without --restart."""
        if not self.restart:
            return None
        kept = self.run.read_json(RESTART) or {}
        return kept["id"] if kept.get("command") == self._what() else uuid.uuid4().hex[:12]

    def begins_anew(self, phase: str) -> bool:
        """Says whether a finished phase is to be trained again: with --restart, unless this --restart trained it."""
        return self.restart and (self.run.done(phase) or {}).get("restart") != self.restart_id

    def note_restart(self) -> None:
        """Writes the id of --restart; called before training begins under it."""
        if self.restart:
            self.run.write_json(RESTART, {"command": self._what(), "id": self.restart_id})

    def end(self) -> None:
        """Removes the id of --restart at the end of the command: the same command then restarts again."""
        if self.restart or set(self.phases) & set(catalogue.TRAINED):
            self.run.forget(RESTART)

    def _what(self) -> dict:
        values = {"phases": list(self.phases), "given": sorted(self.given), **self.config.to_dict()}
        # Through JSON, so that they compare with recorded ones.
        return json.loads(json.dumps(values, default=str))

    def branch(self, name: str, seed: int | None = None, model: Any = None, training: Any = None) -> "Session":
        """Returns a silent session of the same command, whose run directory is a folder inside this run's.

        Args:
            name: of the folder.
            seed: if not this session's.
            model: a `config.Model`, if not this session's.
            training: a `config.Training`, if not this session's.
        """
        model = model or self.config.model
        if model.weights == catalogue.SOURCE:
            # `source` means the source model of this run, not of the branch.
            model = dataclasses.replace(model, weights=str(self.run.path / catalogue.SOURCE))
        run = dataclasses.replace(self.config.run, run_dir=str(self.run.path / name))
        run = run if seed is None else dataclasses.replace(run, seed=seed)
        config = dataclasses.replace(self.config, run=run, model=model, training=training or self.config.training)
        folder = RunDir(run.run_dir, self.run.writes)
        folder.propose(config.to_dict())
        branch = Session(config, self.given, folder, Console(Nowhere()), self.command)
        branch.strategy = self.strategy
        return branch

    def pretrained(self, num_classes: int, source: str | None = None, precision: str | None = None) -> Classifier:
        """Builds a classifier: weights from `source` (default `--weights`) under a new head."""
        where = source or self.config.model.weights
        if where == catalogue.SOURCE:
            if not self.run.done(catalogue.SOURCE):
                raise UserError(
                    f"--weights=source: no source model in {one_line(self.run.path)} yet; run --phase=source first."
                )
            where = str(self.run.path / catalogue.SOURCE)
        model, seed = self.config.model, self.config.run.seed
        with self.strategy.scope(), precision_policy(precision or self.precision):
            # Seeded here, so that random weights and the head depend on the seed alone and not on earlier phases.
            devices.set_up(seed)
            network = weights.load_backbone(self.backbone, model.backbone, where, self.input_size)
            inputs = self.modality.inputs(self.input_size, self.backbone.mode)
            classifier = Classifier(network, inputs, num_classes, model.dropout, seed)
        compiling.set_up(self, classifier, precision or self.precision)
        return classifier

    def trained(self, phase: str, class_names: Sequence[str] | None = None, precision: str | None = None) -> Classifier:
        """Builds the classifier of a finished phase, with its weights.

        Args:
            phase: the phase.
            class_names: of the data set that it will be used on; None: not checked.
            precision: of the computation, by default the run's.

        Raises:
            UserError: the phase was trained on other classes.
        """
        done = self.run.done(phase)
        if class_names is not None:
            self.check_classes(phase, class_names)
        classifier = self.pretrained(len(done["class_names"]), "random", precision)
        classifier.load(self.run.path / phase)
        return classifier

    def check_classes(self, phase: str, class_names: Sequence[str]) -> None:
        """Refuses class names that differ from a finished phase's.

        Raises:
            UserError: they differ; the message says which.
        """
        then = self.run.done(phase)["class_names"]
        if tuple(then) != tuple(class_names):
            changed = sorted(set(then) ^ set(class_names)) or ["their order"]
            raise UserError(
                f"--dataset={one_line(self.config.data.dataset)!r} no longer has the classes that --phase={phase} was "
                f"trained on; what differs: {one_line(', '.join(changed))}. Put them back, or use another --run_dir."
            )

    def check_unchanged(self, phase: str, dataset: str | None = None) -> None:
        """Compares a data set with the one that a finished phase was trained on; files that came or went are told.

        What the phase was trained on must not validate or test it, nor what it was chosen by test it. Where the files
        were not recorded, or there are none, the split must be the same: other numbers of examples move some of them.

        Args:
            phase: the phase.
            dataset: its spec; None for the target.

        Raises:
            UserError: examples have moved so.
        """
        then, name = self.run.done(phase).get("split_digest"), dataset or self.config.data.dataset
        source, plan = self.datasets.planned(name, few_shot=dataset is None)
        if not then or then == plan.facts["digest"] or (phase, then) in self._compared:
            return
        self._compared.add((phase, then))
        change = self.datasets.change_since(then, source, plan)
        if change is not None and not change.leaks:
            self.console.line(f"data  since --phase={phase}: {change.told()}")
            return
        begin = ",".join(catalogue.again(phase, self.config.model.weights == catalogue.SOURCE))
        moved = f"it splits into other {self.modality.many} now ({len(plan.train):,} to train)"
        causes = "in a class of a handful of files, and with --near_copies or --group_by"
        why = f"Files that came or went may move others {causes}. " if change else ""
        raise UserError(
            f"--dataset={one_line(name)!r} has changed since --phase={phase}: {change.told() if change else moved}. "
            f"{why}Put it back, or use another --run_dir, or start over with --phase={begin} --restart."
        )

    def check_files(self, phases: Sequence[str]) -> None:
        """Does what `check_unchanged` does for finished phases, where the target is made of files.

        Others do not grow, and reading their labels takes time.
        """
        if hasattr(self.datasets.open(self.config.data.dataset), "carve"):
            for phase in phases:
                self.check_unchanged(phase)

    @property
    def problem(self) -> Problem:
        """The kind of problem: loss, what is right, score, split."""
        return CLASSIFICATION

    def facts_of(self, data: TrainingData, classifier: Classifier) -> plans.Facts:
        """Returns the facts for `plan`, from data and a classifier with its weights."""
        held = 0 if data.validation is None else len(data.validation)
        return self.facts(len(data.train), held, data.class_names, classifier)

    def facts(
        self, train: int, held: int, class_names: Sequence[str], classifier: Classifier, loaded: bool = True
    ) -> plans.Facts:
        """Returns the facts for `plan`.

        Args:
            train: number of training examples.
            held: number of validation examples.
            class_names: the classes.
            classifier: what trains.
            loaded: the network has its weights, so that facts may be read from them.
        """
        kind = "none" if not classifier.batchnorms else self.backbone.bn
        # A random network has mean 0 and variance 1 too, but not because it was folded.
        pretrained = self.config.model.weights != catalogue.RANDOM
        if loaded and pretrained and batchnorm.already_folded(classifier.batchnorms):
            kind = "folded"
        dropout = self.config.model.dropout
        return plans.Facts(train, self.modality, self.input_size, tuple(class_names), kind, held, dropout, pretrained)

    def plan(self, phase: str, facts: plans.Facts, **other: Any) -> Training:
        """Resolves the options of a phase by the rules; prints a note where that changes what the user gave.

        Args:
            phase: the phase.
            facts: what the rules depend on.
            **other: options that replace the given ones.
        """
        training = dataclasses.replace(self.config.training, **other)
        plan = plans.resolve(training, phase, facts)
        if plan.feature_views and not (plans.solved(plan.optimizer) or pick(training.optimizer, phase)):
            self.console.note(
                f"{phase} trains in steps, since an option of steps was given; one for another phase alone, such "
                "as --epochs=full:8, leaves it to be solved."
            )
        asked = training.augment
        if plan.feature_views and asked not in (None, plan.augment):
            self.console.note(
                f"{phase} trains on features computed beforehand, {plan.feature_views} of each {self.modality.one}: of "
                f"--augment={one_line(asked)} it sees {plan.augment}. --feature_views=8 shows more, 0 all in each step."
            )
        return plan

    def candidates(self, phase: str, facts: plans.Facts) -> tuple[Training, ...]:
        """Returns the plans between which validation chooses, see `plan.candidates`; one where nothing is open."""
        return plans.candidates(self.config.training, phase, facts, self.plan(phase, facts))

    def source_folder(self) -> Path | None:
        """Returns the folder of the source model with its head, where the weights come from one."""
        where = self.config.model.weights
        if where == catalogue.SOURCE:
            return self.run.path / catalogue.SOURCE
        if where in (backbones.PUBLISHED, "random") or not Path(where).is_dir():
            return None
        return weights.weights_file(where).parent

    @cached_property
    def features(self) -> FeatureStore:
        """The feature store of the session."""
        where = self.config.run.feature_store
        folder = None if where == OFF else Path(os.path.expanduser(where)) if where else cache_folder("features")
        # Where the default store fails, warn and go on; where --feature_store was given, its failure is an error.
        warn = None if where else self.console.note
        return FeatureStore(folder, int(self.config.run.feature_store_gb * 1e9), warn, self.console.line)

    def progress(self, label: str) -> Callable[[int, int, str], None]:
        """Returns a progress bar."""
        return self.console.bar(label)
