"""Templates escape what they are given, and miss nothing silently."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from sde_edit.web.pages import STATIC, environment


def test_values_are_escaped():
    template = environment().from_string("{{ text }}")
    assert template.render(text="<script>") == "&lt;script&gt;"


def test_a_value_that_is_not_given_is_an_error():
    with pytest.raises(UndefinedError):
        environment().from_string("{{ text }}").render()


def test_pages_ask_for_the_style_sheet_where_they_are_told():
    base = environment().get_template("base.html")
    assert 'href="/static/style.css"' in base.render()
    assert 'href="../static/style.css"' in base.render(static="../static")
    assert (STATIC / "style.css").is_file()


def test_json_keeps_the_order_as_the_first_method_is_the_default():
    template = environment().from_string("{{ methods | tojson }}")
    assert template.render(methods={"p2p": 1, "diffedit": 2}) == '{"p2p": 1, "diffedit": 2}'
