"""What arms look like."""

from __future__ import annotations

from sde_edit.report.plot_style import styles_of


def test_ode_and_sde_look_the_same_whichever_comes_first() -> None:
    first = styles_of(["DiffEdit-SDE", "DiffEdit-ODE", "EDICT"])
    second = styles_of(["DiffEdit-ODE", "DiffEdit-SDE", "EDICT"])
    assert first == second
    assert list(first) == ["DiffEdit-SDE", "DiffEdit-ODE", "EDICT"]
