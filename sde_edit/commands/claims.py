"""Tests the claims of papers against the stored tables, and writes what was found."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit.commands.table import stored_table
from sde_edit.config import (
    check_known,
    compose_config,
    group_file,
    plugin_settings,
    results_dir,
)
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.registry import citations, names, settings, suggest
from sde_edit.report.claim_forms import Judged, claims_json, claims_latex, claims_markdown
from sde_edit.report.claims import Claim, Finding, World, judge
from sde_edit.store.files import write_together
from sde_edit.study.results import TABLE
from sde_edit.theory import FIGURES

if TYPE_CHECKING:
    from sde_edit.api.citation import Citation

log = logging.getLogger("sde_edit")

TOPICS = (
    *("Inpainting", "Image to image", "Dragging", "Reconstruction", "Sampling"),
    *("Cost", "Theory"),
)


def claim_named(name: str) -> Claim:
    """The claim of conf/claim/<name>.yaml.

    Raises UserError for an unknown name, a wrong setting, and a table that does not exist.
    """
    raw = group_file("claim", name)
    params = {**plugin_settings("claim", raw), "name": raw.get("name")}
    claim = settings(Claim, params, of=f"claim {name!r}")
    claim.check()
    if claim.name != name:
        raise UserError(f"claim {name!r}: its file says name: {claim.name}; give both one name")
    known = sorted({*names("table"), *FIGURES})
    if claim.table not in known and not _study(claim.table):
        raise UserError(f"claim {name!r}: no table {claim.table!r}.{suggest(claim.table, known)}")
    _check_arms(claim)
    return claim


def _check_arms(claim: Claim) -> None:
    """Raises UserError for an arm that the table's config does not have."""
    labels = [arm["label"] for arm in _config(claim.table).get("arms", ())]
    for label in (*claim.arms, *([claim.than] if claim.than else [])):
        if labels and label not in labels:
            raise UserError(
                f"claim {claim.name!r}: table {claim.table} has no arm {label!r}."
                f"{suggest(label, labels)}"
            )


def _study(table: str) -> str:
    """The name of the study whose results are the table; "" for another table."""
    return table.removeprefix(TABLE) if table.startswith(TABLE) else ""


def _config(table: str) -> Mapping[str, Any]:
    """The config of a table; empty for one that has none."""
    return {} if table in FIGURES or _study(table) else group_file("table", table)


def judged_claims(overrides: Sequence[str], chosen: Sequence[str]) -> list[Judged]:
    """The claims and what the tables in the results folder say of them, by topic and name.

    A claim that does not fit its table says why, and the others are judged. chosen: their names;
    none means all. overrides: paths.results=DIR. Raises UserError for an unknown name, for a wrong
    setting of a claim, and for another override.
    """
    check_known(overrides)
    if idle := [o for o in overrides if o not in keyed(overrides, ("paths.", "plugins"))]:
        raise UserError(f"{idle[0]}: claims rest on stored tables; only paths.results=DIR is taken")
    results = results_dir(keyed(overrides, "paths."))
    papers = citations("claim")
    claims = sorted(map(claim_named, chosen or names("claim")), key=_place)
    return [_judged(claim, papers.get(claim.name), results) for claim in claims]


def check_fit(judged: Sequence[Judged]) -> None:
    """Raises UserError naming the claims that do not fit their tables."""
    if misfits := [one.misfit for one in judged if one.misfit]:
        head = (
            f"{len(misfits)} of {len(judged)} claims do not fit their tables. Correct them, or "
            "make the tables again with the commands above"
        )
        raise UserError("\n".join([head, *misfits]))


def warn_of_misfits(judged: Sequence[Judged]) -> None:
    """Log a warning for each claim that does not fit its table."""
    for one in judged:
        if one.misfit:
            log.warning("%s", one.misfit)


def _judged(claim: Claim, paper: Citation | None, results: Path) -> Judged:
    try:
        return Judged(claim, paper, findings(claim, results))
    except UserError as error:
        return Judged(claim, paper, _beside_published(claim, _untested(claim)), str(error))


def _place(claim: Claim) -> tuple[int, str, str]:
    """Where a claim stands: by topic, those of a user last, and by name."""
    known = claim.topic in TOPICS
    return TOPICS.index(claim.topic) if known else len(TOPICS), claim.topic, claim.name


def findings(claim: Claim, results: Path) -> tuple[Finding, ...]:
    """What the stored table says, and that the publication's own setting is not tested if it is
    not that of the table. Raises UserError naming the claim if the table does not fit it."""
    try:
        table = stored_table(claim.table, results)
    except UserError as error:
        raise UserError(f"claim {claim.name!r}: {error}") from error
    own = judge(claim, table, _command(claim.table)) if table else _untested(claim)
    return _beside_published(claim, own)


def _untested(claim: Claim) -> Finding:
    """That there is no table to decide the claim."""
    world = None if _config(claim.table) else claim.published
    remedy = _command(claim.table)
    return Finding(world or _default_world(claim.table), "not tested here", remedy=remedy)


def _beside_published(claim: Claim, own: Finding) -> tuple[Finding, ...]:
    published = claim.published
    if published is None or published.is_that_of(own.world):
        return (own,)
    return own, Finding(published, "not tested here", remedy=_elsewhere(claim, published))


def _elsewhere(claim: Claim, published: World) -> str:
    """What tests a claim in the publication's own setting."""
    if published.overrides:
        return _command(claim.table, *published.overrides)
    if study := _study(claim.table):
        return f"sde-edit study new {study} with runs of {published}, in another results folder"
    return f"none: it takes a table of its own, such as a copy of conf/table/{claim.table}.yaml"


def _command(table: str, *overrides: str) -> str:
    """The command that makes a table; it names no results folder, as that may be moved."""
    if table in FIGURES:
        words = ["figure", table]
    elif study := _study(table):
        words = ["study", "results", study]
    elif "runs" in group_file("table", table):
        words = ["sweep", f"table={table}"]
    else:
        words = ["table", table]
    return shlex.join(["sde-edit", *words, *overrides])


def _default_world(table: str) -> World:
    """The model and the data that a table has without overrides."""
    config = _config(table)
    default = compose_config([])
    arms = [config.get("runs", {}) | arm["set"] for arm in config.get("arms", [])]
    found = {
        group: dict.fromkeys(
            str(name)
            for arm in arms or [config]
            for name in _listed(arm.get(group, default[group]["name"]))
        )
        for group in ("model", "data")
    }
    return World(tuple(found["model"]), tuple(found["data"]))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def publish_claims(judged: Sequence[Judged], overrides: Sequence[str]) -> list[Path]:
    """Write results/claims.{md,json,tex}, all or none. overrides: paths.results=DIR."""
    results = results_dir(keyed(overrides, "paths."))
    forms = {".md": claims_markdown, ".json": claims_json, ".tex": claims_latex}
    files = {results / f"claims{end}": form(judged).encode() for end, form in forms.items()}
    write_together(files)
    return list(files)
