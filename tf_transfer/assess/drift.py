"""Block G: how far fine-tuning moved the network, what it forgot, and the models between head-only and full."""

import json
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from tf_transfer.assess import domain
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.study import Study
from tf_transfer.data.splits import Split
from tf_transfer.evaluation import comparison, ranking, right, similarity
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor
from tf_transfer.phases.catalogue import FULL, HEAD
from tf_transfer.session.session import Session

# Examples for the similarity of features, and examples of the source for what was forgotten.
_EXAMPLES, _SOURCE = 256, 1000
# Number of random halves of the examples that an interval comes from.
_HALVES = 20
# Smallest number of examples for a similarity.
_FEWEST = 8
# Shares of the fully fine-tuned weights on the line between the two models.
_ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))


def measure(study: Study, shifted: Mapping[str, Split]) -> dict:
    """Measures block G for the fully fine-tuned model of the first seed."""
    full = study.ran.get(Trial(FULL, study.top, study.seed))
    if full is None:
        study.clock.leave_out("drift and retention", "no network was fine-tuned")
        return {}
    # Two more networks are built, and each runs over the examples.
    needed = 2 * (study.pools[None].start + _EXAMPLES * study.pools[None].seconds)
    if not study.clock.affords("drift and retention", needed):
        return {}
    scorer = study.scorer()
    pretrained, tuned = study.pools[None].classifier, scorer.load(full)
    # Evenly spread: the first examples of a folder belong to one class.
    rows = np.linspace(0, len(study.data.train) - 1, min(_EXAMPLES, len(study.data.train))).round().astype(int)
    examples = study.data.train.inputs[rows]
    found = {"stages": _stages(pretrained, tuned, examples, study.session), "n": len(examples)}
    found["retention"] = _retention(study, tuned)
    found["interpolation"] = _interpolation(study, full, shifted)
    return found


def _stages(before: Classifier, after: Classifier, examples: np.ndarray, session: Session) -> list[dict]:
    """Measures for each stage how far its weights moved and how similar the features at its end are."""
    moved = {stage: ({}, {}) for stage in sorted(set(before.stages.values()))}
    for side, classifier in enumerate((before, after)):
        for number, layer in enumerate(classifier.backbone.layers):
            stage = moved[classifier.stages[layer.name]][side]
            stage.update({f"{number}/{i}": v.numpy() for i, v in enumerate(layer.trainable_weights)})
    features = [_stage_features(c, examples, session) for c in (before, after)]
    return [
        {
            "stage": stage,
            "parameters": sum(a.size for a in moved[stage][0].values()),
            "weight_distance": similarity.weight_distance(*moved[stage]),
            "cka": _alike(features[0][stage], features[1][stage]),
        }
        for stage in moved
        if moved[stage][0]
    ]


def _alike(before: np.ndarray, after: np.ndarray) -> dict | None:
    if len(before) < _FEWEST:
        return None
    found = ranking.score_interval(lambda rows: similarity.cka(before[rows], after[rows]), len(before), _HALVES)
    return {name: value for name, value in found.items() if name != "halves"}


def _stage_features(classifier: Classifier, examples: np.ndarray, session: Session) -> dict[int, np.ndarray]:
    """Features `[N, D]` of the last layer of each stage, averaged over the axes between rows and channels."""
    learning = [layer for layer in classifier.backbone.layers if layer.weights]
    # Where a network has maps, its vectors, such as those of squeeze and excitation, say little of a stage.
    maps = [layer for layer in learning if len(layer.output.shape) == 4]
    last = {classifier.stages[layer.name]: layer.output for layer in maps or learning}
    network = keras.Model(classifier.backbone.inputs, list(last.values()))
    for fold in classifier.folds:
        fold.active = True

    def pooled(examples):
        """Returns the averaged outputs of the last layers, side by side."""
        outputs = network(classifier.inputs(examples), training=False)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return keras.ops.concatenate([keras.ops.cast(_mean_of_map(o), "float32") for o in outputs], axis=1)

    found = Predictor(pooled, session.strategy, 32)(examples)
    ends = np.cumsum([o.shape[-1] for o in last.values()])
    return dict(zip(last, np.split(found, ends[:-1], axis=1), strict=True))


def _mean_of_map(output):
    between = tuple(range(1, len(output.shape) - 1))
    return keras.ops.mean(output, axis=between) if between else output


def _retention(study: Study, tuned: Classifier) -> dict | None:
    """Measures the accuracy on the source before and after, under the source's own head; None where that is unknown."""
    session, dataset = study.session, study.session.config.data.source_dataset
    folder = session.source_folder()
    if not dataset or folder is None or not (folder / "done.json").is_file():
        study.clock.leave_out("what was forgotten of the source", f"its head or its {study.many} are not known")
        return None
    names = json.loads(Path(folder / "done.json").read_text())["class_names"]
    source = session.datasets.open(dataset)
    if tuple(source.class_names) != tuple(names):
        study.clock.leave_out("what was forgotten of the source", "--source_dataset has other classes than its head")
        return None
    if not study.clock.affords("what was forgotten of the source", study.pools[None].start):
        return None
    split = "test" if "test" in source.splits else "train"
    examples = domain.sample(study, "what was forgotten of the source", split, _SOURCE, passes=2)
    if examples is None:
        return None
    model = session.pretrained(len(names), "random")
    model.load(folder)
    predict = Predictor(model.logits, session.strategy, 64)
    correct = [right(predict(examples.inputs), examples.labels)]
    for variable, value in zip(model.backbone.variables, tuned.backbone.variables, strict=True):
        variable.assign(value.numpy())
    correct.append(right(predict(examples.inputs), examples.labels))
    before, after = (comparison.accuracy_interval(r) for r in correct)
    lost = comparison.accuracy_difference(*correct)
    return {"dataset": dataset, "split": split, "before": before, "after": after, "lost": lost}


def _interpolation(study: Study, full, shifted: Mapping[str, Split]) -> dict | None:
    """Measures models on the line from the head-only one to the fully fine-tuned one (WiSE-FT).

    Validation chooses the share of the latter.

    References:
        Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    if not study.clock.affords("interpolation of head and whole network", _cost(study, shifted)):
        return None
    scorer, head = study.scorer(), study.ran[Trial(HEAD, study.top, study.seed)]
    ends = [[v.copy() for v in scorer.load(ran).state_values()] for ran in (head, full)]
    sets = {**study.measured, **shifted}
    rows = {name: [] for name in sets}
    for alpha in _ALPHAS:
        for variable, a, b in zip(scorer.network.state, *ends, strict=True):
            # Integers, such as states of random generators, are not interpolated.
            variable.assign((1 - alpha) * a + alpha * b if np.issubdtype(a.dtype, np.floating) else b)
        for name, split in sets.items():
            rows[name].append(right(scorer.predict(split.inputs), split.labels))
    scorer.forget()
    told = {name: [comparison.accuracy_interval(r) for r in found] for name, found in rows.items()}
    chosen = None
    if "validation" in told:
        chosen = _ALPHAS[int(np.argmax([e["value"] for e in told["validation"]]))]
    return {"alphas": list(_ALPHAS), "accuracy": told, "chosen": chosen}


def _cost(study: Study, shifted: Mapping[str, Split]) -> float:
    examples = sum(len(s) for s in (*study.measured.values(), *shifted.values()))
    return len(_ALPHAS) * examples * study.pools[None].seconds
