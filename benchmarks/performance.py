"""Makes docs/performance.md: runs the benchmarks, keeps their records in docs/performance.json, writes the page.

    python -m benchmarks.performance [--only=features,full_step,...] [--shared=../shared/data]

Speeds are ratios against alternatives of the same run; where a single call is short, they took turns in one process.
"""

from collections.abc import Mapping

from benchmarks import (
    features,
    full_step,
    gpu,
    head_phase,
    input_pipeline,
    precision,
    runner,
    scaling,
    serving,
    startup,
)

BENCHMARKS = runner.by_name(features, full_step, precision, head_phase, serving, input_pipeline, startup, scaling)
_HEAD = """# Performance

Written by `python -m benchmarks.performance` from `docs/performance.json`; not edited by hand.
Alternatives take turns in one process where nothing else is said; a ratio is the median over the rounds, with its
quartiles.
"""


def render(records: Mapping) -> str:
    """Returns the page; a benchmark that has not been run is left out, as that of the GPU is without one."""
    return runner.page(_HEAD, BENCHMARKS | runner.by_name(gpu), records)


if __name__ == "__main__":
    runner.renew(__doc__, "performance", BENCHMARKS, render)
