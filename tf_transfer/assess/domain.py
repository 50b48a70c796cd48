"""Block A: distances of the target to the source and to the user's shifted sets, in the network's features."""

from collections.abc import Callable, Mapping

import numpy as np

from tf_transfer.assess.study import Study
from tf_transfer.data.splits import Split
from tf_transfer.errors import one_line
from tf_transfer.evaluation import distance, ranking
from tf_transfer.machine.timing import timed
from tf_transfer.phases.catalogue import SOURCE

# Examples of each domain: the tests need a few hundred, and their cost grows with the square.
_EXAMPLES = 500
_LEAST = 40
# Number of random halves of the examples that an interval comes from.
_HALVES = 20
# Shares of the remaining time: for the distances, and for reading examples of the source.
_SHARE, _READING = 0.3, 0.15
# Examples of the source in the first reading, and the factor by which each further reading grows.
_FIRST, _GROWTH = 32, 4


def measure(study: Study, shifted: Mapping[str, Split]) -> dict:
    """Measures the distances of the target to the source, to each shifted set, and, as the control, within itself.

    Every distance is taken between equally many examples, so that distances can be compared.
    """
    if not study.clock.affords("distances", 0.0):
        return {}
    rng = np.random.default_rng(study.seed)
    scorer = study.scorer()
    target = np.asarray(study.pools[None].train.inputs[: len(study.data.train)])
    others = {SOURCE: _source_features(study)} | {
        name: scorer.features(split, keep=True) for name, split in shifted.items()
    }
    sets = {name: x for name, x in others.items() if x is not None and len(x) >= _LEAST}
    for name in set(others) - set(sets) - {SOURCE}:
        study.clock.leave_out(f"distance to {one_line(name, 40)}", f"fewer than {_LEAST} {study.many}")
    size = min([_EXAMPLES, len(target) // 2, *(len(x) // (2 if name == SOURCE else 1) for name, x in sets.items())])
    if size < _LEAST:
        study.clock.leave_out("distances", f"fewer than {2 * _LEAST} {study.many} of the target or of the source")
        return {}
    if not (size := affordable_size(study, target, size, len(sets) + 1)):
        return {}
    order = rng.permutation(len(target))
    here = target[order[:size]]
    found = {"within the target": distances(here, target[order[size : 2 * size]], study.seed)}
    for name, features in sets.items():
        rows = rng.permutation(len(features))[:size]
        found[name] = distances(here, features[rows], study.seed)
        if name == SOURCE:
            mean, most = distance.frechet_floor(features, size)
            found[name]["frechet_floor"] = {"value": mean, "largest": most}
    return {"n": size, "features": int(target.shape[1]), "distances": found}


def affordable_size(study: Study, target: np.ndarray, size: int, sets: int) -> int:
    """Number of examples of each set that the time allows, by a trial on a few; 0 where that is too few."""
    (taken,) = timed(lambda: distances(target[:_LEAST], target[_LEAST : 2 * _LEAST], study.seed), now=study.clock.now)
    least = sets * taken
    # Measured: ten times the examples take seven times as long.
    found = min(size, int(_LEAST * _SHARE * max(0.0, study.clock.left()) / least))
    if found < _LEAST:
        study.clock.leave_out("distances", f"they would take about {least:.0f} s on {_LEAST} {study.many} of each set")
        return 0
    if found < size:
        study.clock.leave_out(f"distances between more than {found} {study.many} of each set", "they take long")
    return found


def distances(one: np.ndarray, other: np.ndarray, seed: int) -> dict:
    """Measures the distances between two sets of features by name, with intervals.

    Args:
        one: float `[N, D]`.
        other: float `[N, D]`.
        seed: draws the halves that an interval comes from.
    """

    def halved(score: Callable, least: float = -np.inf) -> dict:
        """Returns a distance with its interval by halves of both sets, cut off at the least possible distance."""
        found = ranking.score_interval(lambda rows: score(other[rows], one[rows]), len(one), _HALVES, seed)
        ends = {end: max(least, found[end]) for end in ("low", "high")}
        return {name: v for name, v in (found | ends).items() if name != "halves"}

    return {
        "proxy_a_distance": distance.proxy_a_distance(other, one, seed=seed),
        "mmd": distance.mmd(other, one, seed=seed) | halved(lambda a, b: distance.mmd(a, b, 0)["value"]),
        "coral": halved(distance.coral_distance, 0.0),
        "frechet": halved(distance.frechet_distance, 0.0),
        "n": len(one),
    }


def _source_features(study: Study) -> np.ndarray | None:
    name = study.session.config.data.source_dataset
    if not name:
        study.clock.leave_out("distance to the source", f"no --source_dataset says where its {study.many} are")
        return None
    examples = sample(study, "distance to the source", "train", 2 * _EXAMPLES)
    return None if examples is None else study.scorer().features(examples)


def sample(study: Study, what: str, split: str, most: int, passes: int = 1) -> Split | None:
    """Reads examples of the source, drawn at random by the run's seed, as many as the time allows.

    Args:
        study: gives `--source_dataset` and the clock.
        what: name of the measurement they are for.
        split: split of the source.
        most: largest number of examples.
        passes: passes of the network over each example that follow.

    Returns:
        None, with a note, where the time allows too few, or where the source has no such split.
    """
    session = study.session
    source = session.datasets.open(session.config.data.source_dataset)
    if split not in source.splits:
        study.clock.leave_out(what, f"the source has no {split} split")
        return None
    rows = np.random.default_rng(study.seed).permutation(len(source.labels(split)))[:most]
    allowed, count, found = _READING * study.clock.left(), 0, None
    needed = study.pools[None].seconds * passes * _FIRST
    # The time of reading is known afterwards: some formats are read from end to end for a single example.
    while count < len(rows) and needed <= allowed:
        count, begun = min(len(rows), _GROWTH * count or _FIRST), study.clock.now()
        found = source.load(split, np.sort(rows[:count]), session.input_size)
        taken = study.clock.now() - begun
        allowed -= taken
        needed = min(_GROWTH, len(rows) / count) * (taken + study.pools[None].seconds * passes * count)
    if count < min(_LEAST, len(rows)):
        study.clock.leave_out(
            what, f"reading {_LEAST} {study.many} of the source would take about {max(1, needed):.0f} s"
        )
        return None
    if count < len(rows):
        study.clock.leave_out(
            f"{what}: all but {count} of {len(rows):,} {study.many} of the source", "reading takes long"
        )
    return found
