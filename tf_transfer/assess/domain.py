"""Block A: how far the target, and the user's shifted sets, lie from the source in the network's features."""

from collections.abc import Callable, Mapping

import numpy as np

from tf_transfer.assess.study import Study
from tf_transfer.data.splits import Split
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import distance, ranking
from tf_transfer.session import Session

# Pictures of each domain: the tests need a few hundred, and their cost grows with the square.
_PICTURES = 500
_LEAST = 40
# Halves of the pictures from which intervals come.
_HALVES = 20


def measure(study: Study, shifted: Mapping[str, Split]) -> dict:
    """Returns the distances of the target to the source, to each shifted set, and within itself as the control.

    Every distance is taken between as many pictures of each, so that they can be compared.
    """
    rng = np.random.default_rng(study.seed)
    scorer = study.scorer()
    target = np.asarray(study.pools[None].train.inputs[: len(study.data.train)])
    others = {"source": _source_features(study)} | {
        name: scorer.features(split, keep=True) for name, split in shifted.items()
    }
    sets = {name: x for name, x in others.items() if x is not None and len(x) >= _LEAST}
    for name in set(others) - set(sets) - {"source"}:
        study.clock.leave_out(f"distance to {one_line(name, 40)}", f"fewer than {_LEAST} pictures")
    size = min([_PICTURES, len(target) // 2, *(len(x) // (2 if name == "source" else 1) for name, x in sets.items())])
    if size < _LEAST:
        study.clock.leave_out("distances", f"fewer than {2 * _LEAST} pictures of the target or of the source")
        return {}
    order = rng.permutation(len(target))
    here = target[order[:size]]
    found = {"within the target": _distances(here, target[order[size : 2 * size]], study.seed)}
    for name, features in sets.items():
        rows = rng.permutation(len(features))[:size]
        found[name] = _distances(here, features[rows], study.seed)
        if name == "source":
            mean, most = distance.frechet_floor(features, size)
            found[name]["frechet_floor"] = {"value": mean, "largest": most}
    return {"n": size, "features": int(target.shape[1]), "distances": found}


def _distances(one: np.ndarray, other: np.ndarray, seed: int) -> dict:
    def halved(score: Callable) -> dict:
        """Returns a distance with its interval by halves of both."""
        found = ranking.score_interval(lambda rows: score(other[rows], one[rows]), len(one), _HALVES, seed)
        return {name: v for name, v in found.items() if name != "halves"}

    return {
        "proxy_a_distance": distance.proxy_a_distance(other, one, seed=seed),
        "mmd": distance.mmd(other, one, seed=seed) | halved(lambda a, b: distance.mmd(a, b, 0)["value"]),
        "coral": halved(distance.coral_distance),
        "frechet": halved(distance.frechet_distance),
        "n": len(one),
    }


def _source_features(study: Study) -> np.ndarray | None:
    name = study.session.config.data.source_dataset
    if not name:
        study.clock.leave_out("distance to the source", "no --source_dataset says where its pictures are")
        return None
    return study.scorer().features(sample(study.session, name, "train", 2 * _PICTURES))


def sample(session: Session, dataset: str, split: str, count: int) -> Split:
    """Reads so many pictures of a split of a data set, drawn at random by the run's seed.

    Raises:
        UserError: the data set has no such split.
    """
    source = session.open(dataset)
    if split not in source.splits:
        raise UserError(f"{one_line(dataset)!r} has no {split} split.")
    total = len(source.labels(split))
    rows = np.random.default_rng(session.config.run.seed).permutation(total)[:count]
    return source.load(split, np.sort(rows), session.image_size)
