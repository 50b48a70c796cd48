"""Refuses arrays that hold NaN or infinity: a metric of them would be a number that means nothing."""

import numpy as np


def check_finite(infinite: bool = False, **arrays: np.ndarray) -> None:
    """Refuses arrays with numbers that are not finite.

    Args:
        infinite: allows infinity, such as the logit of a class that is ruled out; NaN is refused all the same.
        **arrays: by the names that the message gives them.

    Raises:
        ValueError: names the array, and how many of its numbers are bad.
    """
    for name, values in arrays.items():
        bad = np.count_nonzero(np.isnan(values) if infinite else ~np.isfinite(values))
        if bad:
            what = "NaN" if infinite else "NaN or infinite"
            raise ValueError(f"{name}: expected finite numbers, got {bad:,} of {np.size(values):,} that are {what}.")
