"""The summary of the claims on pages is that of the committed tables."""

import runpy

import pytest

from tests.builders import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "claims_table.py"))
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if SCRIPT["BEGIN"] in page.read_text()
]


def test_a_page_shows_it():
    assert ROOT / "docs" / "claims.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_fresh(page):
    command = f"python scripts/claims_table.py {page.relative_to(ROOT)}"
    assert page.read_text() == SCRIPT["refreshed"](page), command


def test_links_are_those_of_the_page_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{SCRIPT['BEGIN']}old\n{SCRIPT['END']}after\n")
    text = SCRIPT["refreshed"](page)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    link = text.split("[table7](")[1].split(")")[0]
    assert (tmp_path / link).resolve() == ROOT / "results" / "tables" / "table7.md"
