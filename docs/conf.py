"""The documentation as a site: `make docs`. The source folder is the repository's root, so that the
same links work here and in the checkout. Pages are Markdown; docstrings are plain text.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "sde-edit"
author = copyright = "The sde-edit developers"
release = metadata.version("sde-edit")
root_doc = "docs/index"
include_patterns = [
    *("docs/*.md", "docs/*/*.md", "docs/*.ipynb", "results/tables/*.md"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "data/README.md"),
]
exclude_patterns = ["docs/_build", "**/.ipynb_checkpoints"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]

html_theme = "furo"
html_title = "sde-edit"
html_copy_source = html_show_sourcelink = False

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "cache"
nb_execution_timeout = 900
nb_execution_raise_on_error = True
# Tables begin with the heading that fits their place in a paper's appendix.
suppress_warnings = ["myst.header"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}


def _escape(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Docstrings are plain text: escape what reStructuredText would take for markup."""
    text = re.sub(r"([*|\\])", r"\\\1", "\n".join(lines))
    text = re.sub(r"(?<!`)`([^`\n]+)`(?!`)", r"``\1``", text)
    text = re.sub(r"(\w)_(?!\w)", r"\1\\_", text)
    lines[:] = ["| " + line if line.startswith("    ") else line for line in text.splitlines()]


def _land_on_index(app: Sphinx, error: Exception | None) -> None:
    """index.html at the top leads to the first page."""
    if error is None and app.builder.name == "html":
        to = '<meta http-equiv="refresh" content="0; url=docs/index.html">\n'
        Path(app.outdir, "index.html").write_text(to, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _escape)
    app.connect("build-finished", _land_on_index)
