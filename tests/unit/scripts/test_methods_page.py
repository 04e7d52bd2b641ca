"""docs/methods.md is what the registry says."""

import runpy

from tests.builders import ROOT


def test_the_page_is_up_to_date():
    page = runpy.run_path(str(ROOT / "scripts" / "methods_page.py"))["page"]()
    assert (ROOT / "docs" / "methods.md").read_text() == page, "python scripts/methods_page.py"


def test_it_says_what_the_papers_table_1_says():
    page = (ROOT / "docs" / "methods.md").read_text()
    for up, down, task, sampler in (
        ("noise", "SDE", "inpaint", "sde"),
        ("noise", "ODE", "inpaint", "ode"),
        ("ODE, inverted", "ODE", "diffedit", "ode"),
        ("ODE, inverted", "ODE", "ddib", "ode"),
        ("noise, w' kept", "Cycle-SDE", "cyclediffusion", "sde"),
        ("noise", "SDE", "sdedit", "sde"),
    ):
        (line,) = [
            line
            for line in page.splitlines()
            if line.startswith(f"| `{task}` | {up} |") and f"`{sampler}`" in line
        ]
        assert f"| {down} |" in line
