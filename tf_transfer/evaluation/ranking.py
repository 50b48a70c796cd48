"""Whether forecasts rank networks as their outcomes do, and how sure a ranking is."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import stdtrit


def weighted_tau(forecasts: Sequence[float], outcomes: Sequence[float]) -> float | None:
    """Returns Vigna's weighted Kendall tau in [-1, 1], in which exchanges among the best weigh more.

    With three networks it takes few values and none is significant: read it as a description.

    Args:
        forecasts: `[K]`, larger is better.
        outcomes: `[K]`, such as accuracies.

    Returns:
        None with fewer than two networks, or where all forecasts or all outcomes are equal.

    References:
        Vigna, "A weighted correlation index for rankings with ties", WWW 2015; SciPy's implementation.
    """
    if len(forecasts) < 2:
        return None
    from scipy.stats import weightedtau  # Its import takes half a second, and few commands rank.

    tau = float(weightedtau(forecasts, outcomes).statistic)
    return tau if np.isfinite(tau) else None


def tau_interval(
    halves: Sequence[Sequence[float]], correct: Sequence[np.ndarray], seed: int = 0, draws: int = 200
) -> tuple[float, float] | None:
    """Returns the 95 % interval of `weighted_tau` over halves of a forecast's examples and resampled outcomes.

    Args:
        halves: for each network its scores on the same halves of the examples, or a single score.
        correct: for each network float `[N]`, how often it is right on each of the same N examples.
        seed: of the draws.
        draws: of a half and of examples.

    Returns:
        None where tau is not known in most of the draws.
    """
    rng, right, taus = np.random.default_rng(seed), np.stack(correct), []
    for _ in range(draws):
        half, rows = rng.integers(len(halves[0])), rng.integers(0, right.shape[1], right.shape[1])
        taus.append(weighted_tau([scores[half] for scores in halves], right[:, rows].mean(1).tolist()))
    known = [tau for tau in taus if tau is not None]
    if len(known) < draws / 2:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def half_samples(n: int, repeats: int, seed: int = 0) -> list[np.ndarray]:
    """Returns random halves of n examples, without replacement.

    The spread of an estimate over them is about its standard error on all n (the delete-d jackknife with d = n / 2;
    Shao and Wu, Annals of Statistics 1989). A bootstrap would hold examples twice: a nearest neighbour would find
    itself.
    """
    rng = np.random.default_rng(seed)
    return [np.sort(rng.permutation(n)[: n // 2]) for _ in range(repeats)]


def score_interval(score: Callable[[np.ndarray], float], n: int, repeats: int, seed: int = 0) -> dict:
    """Returns a score of n examples with its 95 % interval by `half_samples`, and the scores on the halves.

    Args:
        score: rows to a number.
        n: examples.
        repeats: halves, at least 2.
        seed: of the halves.
    """
    value = float(score(np.arange(n)))
    halves = [float(score(rows)) for rows in half_samples(n, repeats, seed)]
    # Many scores depend on n: the halves tell the spread, not the level.
    half = float(stdtrit(repeats - 1, 0.975) * np.std(halves, ddof=1))
    return {"value": value, "low": value - half, "high": value + half, "n": n, "halves": halves}


def rank_intervals(halves: Mapping[str, Sequence[float]]) -> dict[str, dict]:
    """Returns the rank of each network over the same halves: `median`, `low`, `high` (95 %), and its share of `first`.

    Args:
        halves: scores by network, of the same halves in the same order; larger is better.
    """
    from scipy.stats import rankdata

    names = list(halves)
    ranks = rankdata(-np.array([halves[name] for name in names]), axis=0)
    found = {}
    for name, row in zip(names, ranks, strict=True):
        low, high = np.quantile(row, [0.025, 0.975], method="nearest")
        told = {"median": float(np.median(row)), "low": float(low), "high": float(high)}
        found[name] = told | {"first": float(np.mean(row == ranks.min(0)))}
    return found
