"""Makes docs/choices.md: what the package decides by itself, beside what else it could decide.

python -m benchmarks.choices [--only=selection,class_weights,normalisation,field_sets] [--shared=../shared/data]
"""

from collections.abc import Mapping

from benchmarks import class_weights, field_sets, normalisation, runner, selection

BENCHMARKS = runner.by_name(selection, class_weights, normalisation, field_sets)
_HEAD = """# Choices

Written by `python -m benchmarks.choices` from `docs/choices.json`; not edited by hand. What the rules are is said in
[metrics.md](metrics.md).
"""


def render(records: Mapping) -> str:
    """Returns the page; a benchmark that has not been run is left out."""
    return runner.page(_HEAD, BENCHMARKS, records)


if __name__ == "__main__":
    runner.renew(__doc__, "choices", BENCHMARKS, render)
