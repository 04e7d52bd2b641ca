"""Every claim fits its table, and the committed verdicts follow from the committed tables."""

import re
from pathlib import Path

import pytest

from sde_edit.commands.claims import (
    TOPICS,
    check_fit,
    claim_named,
    judged_claims,
    publish_claims,
)
from sde_edit.commands.table import stored_table
from sde_edit.config import compose_config, group_file, sweep_overrides
from sde_edit.registry import citations, names
from sde_edit.report.claims import Claim, judge
from sde_edit.report.table import Table
from sde_edit.study.plan import Study
from sde_edit.study.results import TABLE, study_table
from sde_edit.theory import FIGURES
from tests.builders import ROOT
from tests.unit.study.plans import plan_of, prefers, simulate

RESULTS = ROOT / "results"
CLAIMS = names("claim")


def test_committed_verdicts_follow_from_the_committed_tables(tmp_path: Path) -> None:
    judged = judged_claims([f"paths.results={RESULTS}"], ())
    assert {one.claim.name for one in judged} == set(CLAIMS)
    check_fit(judged)
    for file in publish_claims(judged, [f"paths.results={tmp_path}"]):
        assert file.read_text() == (RESULTS / file.name).read_text(), "sde-edit claims"


def test_a_summary_fits_a_page() -> None:
    assert 0 < sum(claim_named(name).headline for name in CLAIMS) <= 20


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_about_a_paper_and_a_topic(name: str) -> None:
    claim = claim_named(name)
    assert claim.topic in TOPICS
    assert claim.published
    assert name in citations("claim")


@pytest.mark.parametrize("name", CLAIMS)
def test_the_cells_of_a_claim_are_those_of_its_table(name: str, tmp_path: Path) -> None:
    """Those of the table where it is committed; else the arms that its config has, or those of the
    study that its note plans."""
    claim = claim_named(name)
    if table := stored_table(claim.table, RESULTS):
        assert judge(claim, table, "").comparisons
        return
    if claim.table.startswith(TABLE):
        assert judge(claim, study_of(claim, tmp_path), "").comparisons
        return
    labels = {arm["label"] for arm in group_file("table", claim.table)["arms"]}
    assert {*claim.arms, claim.than or claim.arms[0]} <= labels


def study_of(claim: Claim, results: Path) -> Table:
    """The table of the study that the note plans, answered by simulated raters."""
    (labels,) = re.findall(r"labels=([\w,-]+)", claim.note)
    assert f"study new {claim.table.removeprefix(TABLE)} " in claim.note
    study = Study.named("made-up", results)
    study.write(plan_of(arms=labels.split(","), raters=0))
    return study_table(study.plan, simulate(study, [prefers(0)] * 2), [{}, {}, {}])


@pytest.mark.parametrize("name", CLAIMS)
def test_the_setting_of_the_publication_can_be_run(name: str) -> None:
    claim = claim_named(name)
    assert claim.published
    overrides = claim.published.overrides
    assert overrides or claim.table in (*FIGURES, "table7") or claim.table.startswith(TABLE)
    if overrides:
        words = [f"table={claim.table}", *(o.replace("DIR", "images") for o in overrides)]
        combinations, _ = sweep_overrides(words)
        for one in (combinations[0], combinations[-1]):
            config = compose_config(one)
            assert (config["model"]["name"],) == claim.published.model
            assert (config["data"]["name"],) == claim.published.data
            asked = [(one,) if isinstance(one, str) else one for one in claim.metrics]
            measured = {*config["metrics"], *(config["data"]["metrics"] or ())}
            for group in asked:
                assert measured & {*group} or not {*group} & {*names("metric")}, group
