"""`sde-edit claims`: claims of the package and of a user, against stored tables."""

import json
import shutil

import pytest
from click.testing import CliRunner

import sde_edit as se
from sde_edit.cli import main
from sde_edit.commands.claims import claim_named, findings
from sde_edit.errors import UserError
from tests.builders import ROOT, no_plugins_left

COMMITTED = ROOT / "results"
MINE = """\
# Mine
name: mine
topic: Mine
sentence: "SDE has the better LPIPS with small masks and 50 steps"
where: "my notes"
table: table2
rule: every
arms: [Inpaint-SDE]
than: Inpaint-ODE
columns: ["small masks, 50"]
metrics: [shapes_lpips]
"""


@pytest.fixture
def results(tmp_path):
    """A results folder with the committed Table 2 alone."""
    (tmp_path / "tables").mkdir()
    shutil.copy(COMMITTED / "tables" / "table2.json", tmp_path / "tables")
    return tmp_path


@pytest.fixture
def said(results):
    with no_plugins_left():
        yield lambda *words: CliRunner().invoke(
            main, ["claims", f"paths.results={results}", *words]
        )


def write(results, text):
    folder = results / "plugins" / "conf" / "claim"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(text)
    return f"plugins={results / 'plugins'}"


def changed(old, new):
    assert old in MINE
    return MINE.replace(old, new)


# ------------------------------------------------------------------ what is written
def test_all_claims_are_written_in_three_forms(said, results):
    done = said()
    assert done.exit_code == 0, done.output
    files = [results / f"claims.{end}" for end in ("md", "json", "tex")]
    assert done.output.splitlines()[-3:] == [str(file) for file in files]
    stored = json.loads(files[1].read_text())
    by_name = {one["name"]: one["findings"] for one in stored}
    assert by_name["inpaint"][0]["comparisons"]
    assert by_name["diffedit"][0]["verdict"] == "not tested here"


def test_named_claims_are_printed_and_nothing_is_written(said, results):
    done = said("inpaint", "drag-over-ode")
    lines = [line for line in done.output.splitlines() if line.startswith("| ")]
    names = {line.split("|")[1].strip() for line in lines[1:]}
    assert names == {"inpaint", "drag-over-ode"}
    assert not (results / "claims.md").exists()


def test_an_absent_table_is_not_tested_and_its_command_is_named(said):
    assert "sde-edit sweep table=figure3 " in said("drag-over-ode").output
    assert "sde-edit figure theory_kl" in said("theorem-3-2").output


def test_the_embedded_world_does_not_speak_for_photographs(results):
    own, photographs = findings(claim_named("inpaint"), results)
    assert (own.world.model, own.world.data) == (("shapes",), ("shapes",))
    assert own.verdict != "not tested here"
    assert photographs.verdict == "not tested here"
    assert photographs.remedy == "sde-edit sweep table=table2 model=sd15 data=places"


def test_a_table_of_the_publication_s_own_setting_speaks_for_it_alone(results):
    file = results / "tables" / "table2.json"
    table = json.loads(file.read_text())
    table["notes"] = ["Model: sd15 (version 1).", "Data: places (version 1) with masks small."]
    for block in table["blocks"]:
        block["title"] = block["title"].removeprefix("shapes_")
    file.write_text(json.dumps(table))
    (own,) = findings(claim_named("inpaint"), results)
    assert str(own.world) == "sd15 on places"
    assert own.verdict != "not tested here"


def test_a_flipped_sign_flips_the_verdict(said, results):
    plugins = write(results, MINE)
    assert "| reproduced" in said(plugins, "mine").output
    file = results / "tables" / "table2.json"
    table = json.loads(file.read_text())
    for block in table["blocks"]:
        if block["title"] != "shapes_lpips":
            continue
        rows = {row["label"]: row["cells"] for row in block["rows"]}
        ode, sde, difference = (rows[k] for k in ("Inpaint-ODE", "Inpaint-SDE", "SDE − ODE"))
        for a, b in zip(ode, sde, strict=True):
            a["value"], b["value"] = b["value"], a["value"]
        for cell in difference:
            cell["value"], cell["low"], cell["high"] = -cell["value"], -cell["high"], -cell["low"]
            cell["verdict"] = {"better": "worse"}.get(cell["verdict"], cell["verdict"])
    file.write_text(json.dumps(table))
    assert "| not reproduced" in said(plugins, "mine").output


# ------------------------------------------------------------------ claims of a user
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("table: table2", "table: tabel2"), "no table 'tabel2'. Did you mean 'table2'?"),
        (changed("[Inpaint-SDE]", "[SDE]"), "table table2 has no arm 'SDE'"),
        (changed("[shapes_lpips]", "[lpipps]"), "table table2 has no metric 'lpipps'"),
        (changed("small masks, 50", "50 steps"), "table table2 has no column '50 steps'"),
        (
            changed("rule: every", "rule: all"),
            "rule=all: must be 'every', 'most', 'equal' or 'exact'",
        ),
        (changed("rule: every", "rule: equal"), "rule equal needs a margin"),
        (changed("than:", "then:"), "Did you mean 'than'?"),
        (changed('where: "my notes"\n', ""), "where: must be given"),
        (changed("metrics: [shapes_lpips]", "metrics: []"), "metrics"),
        (changed("name: mine", "name: other"), "its file says name: other"),
        (MINE + "margin: -1\n", "margin=-1: must be above 0"),
        ("- a\n- b\n", "must hold `key: value` lines"),
        ("name: [\n", "is no YAML"),
    ],
)
def test_a_wrong_claim_is_named_with_its_remedy(said, results, text, message):
    done = said(write(results, text), "mine")
    assert done.exit_code == 1
    assert "mine" in done.output
    assert message in done.output


def test_a_claim_that_does_not_fit_is_named_and_the_others_are_judged(said, results):
    plugins = write(results, changed("[shapes_lpips]", "[lpipps]"))
    (results / "tables" / "table5.json").write_text("{")
    done = said(plugins)
    assert done.exit_code == 1
    stored = json.loads((results / "claims.json").read_text())
    found = {one["name"]: one["findings"][0] for one in stored}
    assert found["inpaint"]["comparisons"]
    for name, table in (("mine", "table2"), ("inpaint-second-order", "table5")):
        assert found[name]["verdict"] == "not tested here"
        assert found[name]["remedy"] == f"sde-edit sweep table={table}"
    fit = said("inpaint")
    assert fit.exit_code == 0
    *_, head, first, second, third = done.output.rstrip().splitlines()
    assert f"3 of {len(stored)} claims do not fit their tables" in head
    assert {first.split(":")[0], second.split(":")[0], third.split(":")[0]} == {
        "claim 'inpaint-second-order'",
        "claim 'inpaint-second-order-at-7.5'",
        "claim 'mine'",
    }


def test_an_unknown_name_is_refused_with_the_nearest(said):
    done = said("inpiant")
    assert done.exit_code == 1
    assert "no claim 'inpiant'. Did you mean 'inpaint'?" in done.output


def test_an_override_without_effect_is_refused(said):
    done = said("steps=25")
    assert done.exit_code == 1
    assert "steps=25: claims rest on stored tables" in done.output


def test_the_skeleton_is_a_claim(said, results):
    folder = results / "mine"
    with no_plugins_left():
        made = CliRunner().invoke(main, ["new", "claim", "ahead", "--into", str(folder)])
    assert made.exit_code == 0, made.output
    assert "reproduced" in said(f"plugins={folder}", "ahead").output


# ------------------------------------------------------------------ from Python
def test_from_python(results):
    claims = se.claims("inpaint", results=results)
    (one,) = claims.judged
    assert one.claim.table == "table2"
    assert one.claim.sentence in str(claims)
    frame = claims.to_pandas()
    assert list(frame["model"]) == ["shapes", "sd15"]
    with pytest.raises(UserError, match="no claim"):
        se.claims("inpant")


# ------------------------------------------------------------------ the contract
@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (MINE, 0, "ok      claim mine: it is described, and builds"),
        (changed("table: table2", "table: tabel2"), 1, "Did you mean 'table2'?"),
        (changed("# Mine\n", ""), 1, "its file has no docstring, and its config no comment"),
    ],
)
def test_the_claims_of_a_folder_are_checked(results, text, code, message):
    folder = write(results, text).removeprefix("plugins=")
    with no_plugins_left():
        done = CliRunner().invoke(main, ["test-plugin", folder])
    assert done.exit_code == code
    assert message in done.output


def test_an_arm_that_the_table_lacks_is_refused_before_the_table_is_made(said, results):
    (results / "tables" / "table2.json").unlink()
    outcome = said("mine", write(results, changed("[Inpaint-SDE]", "[SDE]")))
    assert outcome.exit_code == 1
    assert "table table2 has no arm 'SDE'" in outcome.output
