"""What turns templates into pages, with or without a server."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

STATIC = Path(__file__).parent / "static"  # style sheets and modules of JavaScript


@cache
def environment() -> Environment:
    """Templates of `web/templates`. Values are escaped; a value that is not given is an error.

    `static` is the address of the folder of style sheets; pages without a server give a relative
    one.
    """
    found = Environment(
        loader=PackageLoader("sde_edit.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["static"] = "/static"
    # The first method of a kind of edit is its default, so JSON keeps the order.
    found.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return found
