"""Plug-ins are found by the name of their file, and no other file is read for it."""

import pytest

from sde_edit import registry
from sde_edit.errors import UserError
from sde_edit.registry import kinds, plugin_class


def test_finding_a_plugin_reads_no_docstrings(monkeypatch):
    monkeypatch.setattr(registry, "_first_line", lambda file: pytest.fail(f"read {file}"))
    assert plugin_class("samplers", "ode").__name__ == "ODE"


@pytest.mark.parametrize("kind", ["odee", "__init__", "../errors", "", "a.b"])
def test_what_is_no_plugin_is_refused_with_the_names_there_are(kind):
    with pytest.raises(UserError, match=r"no sampler .* Known: .*\bode\b"):
        plugin_class("samplers", kind)


def test_kinds_are_listed_with_their_first_lines():
    assert all(kinds("samplers").values())
