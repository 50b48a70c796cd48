"""The pages of measurements are what their commands write from their records."""

import json

import pytest
import tools

from benchmarks import performance, reliability, results_page

PAGES = {"results": results_page.render, "performance": performance.render, "reliability": reliability.render}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_records_say(name):
    docs = tools.ROOT / "docs"
    assert (docs / f"{name}.md").read_text() == PAGES[name](json.loads((docs / f"{name}.json").read_text()))
