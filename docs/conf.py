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

    from sde_edit.commands.show import ChoiceHelp, SettingHelp

project = "sde-edit"
author = copyright = "The sde-edit developers"
release = metadata.version("sde-edit")
root_doc = "docs/index"
include_patterns = [
    *(
        "docs/*.md",
        "docs/*/*.md",
        "docs/reference/config/*.md",
        "docs/*.ipynb",
        "results/tables/*.md",
        "results/claims.md",
    ),
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


# ------------------------------------------------------------------ reference of the configs
_REFERENCE = Path(__file__).parent / "reference" / "config"


def _write_reference(app: Sphinx) -> None:
    """A page for each group of configs, made from the YAML files and the plug-ins."""
    from sde_edit.commands.show import describe_choice
    from sde_edit.registry import groups, names

    _REFERENCE.mkdir(exist_ok=True)
    for group in groups():
        choices = [_choice(describe_choice(group, name)) for name in names(group)]
        text = "\n\n".join([f"# `{group}=`", *choices]) + "\n"
        file = _REFERENCE / f"{group}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _choice(choice: ChoiceHelp) -> str:
    parts = [f"## {choice.name}", _plain(choice.description)]
    if choice.citation:
        parts.append(_plain(choice.citation))
    if choice.settings:
        rows = [(f"`{s.key}`", _default(s), s.type, s.meaning) for s in choice.settings]
        head = "| setting | default | type | meaning |\n|---|---|---|---|"
        body = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
        parts.append("\n".join([head, *body]))
    if choice.details:
        parts.append(f"```text\n{choice.details}\n```")
    return "\n\n".join(part for part in parts if part)


def _default(setting: SettingHelp) -> str:
    long = len(setting.default) > 60
    return "see the file" if long else f"`{setting.default}`" if setting.default else ""


def _cell(text: str) -> str:
    return text if text.startswith("`") else _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#$])", r"\\\1", text)


def _land_on_index(app: Sphinx, error: Exception | None) -> None:
    """index.html at the top leads to the first page."""
    if error is None and app.builder.name == "html":
        to = '<meta http-equiv="refresh" content="0; url=docs/index.html">\n'
        Path(app.outdir, "index.html").write_text(to, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", _write_reference)
    app.connect("autodoc-process-docstring", _escape)
    app.connect("build-finished", _land_on_index)
