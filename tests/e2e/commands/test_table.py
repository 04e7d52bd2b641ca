"""From sweep to table, figure and summary, on the small random model."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.store.runs import RunStore
from tests.builders import without_workers

pytestmark = pytest.mark.xdist_group("table2")  # so that one worker makes its runs
# At the paper's guidance the two pairs of arms are one.
GRID = ["model.guidance.inpaint=7.5", "steps=2,3", "data.masks=small,large", "data.n=4"]


@pytest.fixture(scope="module")
def results(tiny_model, tmp_path_factory):
    """The runs of a small Table 2."""
    folder = tmp_path_factory.mktemp("results")
    arguments = [
        f"model.path={tiny_model}",
        f"paths.results={folder}",
        "metrics=[psnr,truth_error]",
    ]
    with without_workers():
        outcome = CliRunner().invoke(main, ["sweep", "table=table2", *GRID, *arguments])
    assert outcome.exit_code == 0, outcome.output
    assert len(RunStore(folder).runs()) == 8
    return folder


def invoke(*arguments, code=0):
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout if code == 0 else outcome.output


def test_table_in_four_formats_and_its_figure(results):
    *written, tally = invoke("table", "table2", *GRID[:3], f"paths.results={results}").splitlines()
    names = {path.rsplit("/", 1)[1] for path in written}
    assert "comparisons decided" in tally
    suffixes = ("md", "csv", "tex", "json", "png", "svg", "pdf")
    assert names == {"table2-notes.tex", *(f"table2.{suffix}" for suffix in suffixes)}
    text = (results / "tables" / "table2.md").read_text()
    assert "psnr" in text
    assert "measured on n = 4 images" in text
    table = json.loads((results / "tables" / "table2.json").read_text())
    cells = [c for block in table["blocks"] for row in block["rows"] for c in row["cells"]]
    assert all(cell["runs"] for cell in cells if cell["value"] is not None and cell["n"])
    Image.open(results / "figures" / "table2.png").load()


def test_the_same_table_twice_is_the_same_bytes(results):
    def read():
        invoke("table", "table2", *GRID[:3], f"paths.results={results}")
        return [f.read_bytes() for f in sorted(results.glob("*/table2.*"))]

    assert read() == read()


def test_a_table_without_runs_says_how_to_make_them(tmp_path):
    assert "sde-edit run task=inpaint" in invoke(
        "table", "table2", f"paths.results={tmp_path}", code=1
    )
    said = invoke("table", "tabel2", f"paths.results={tmp_path}", code=1)
    assert "Did you mean 'table2'" in said


def test_a_filter_that_fits_no_run(results):
    arguments = ["table", "table2", *GRID[:3], f"paths.results={results}"]
    invoke(*arguments, "model=shapes")
    assert "task.guidence" in invoke(*arguments, "task.guidence=3", code=1)
    invoke(*arguments, "experiment=inpaint_places_sd15", code=1)


def test_summary_shows_both_arms_and_a_contact_sheet(results, tiny_model):
    output = invoke(
        "summary",
        "sampler=ode,sde",
        "steps=2",
        "task.guidance=7.5",
        "data.n=4",
        "metrics=[psnr,truth_error]",
        f"model.path={tiny_model}",
        f"paths.results={results}",
    )
    assert "evaluations/image" in output
    assert "| − ode" in output
    assert "paired over 4 examples" in output
    sheet = output.split("contact sheet: ")[1].strip()
    Image.open(sheet).load()


def test_evaluate_again_and_list_and_status(results, tiny_model):
    where = [f"model.path={tiny_model}", f"paths.results={results}", "data.n=4", "metrics=[psnr]"]
    where.append("task.guidance=7.5")
    first = invoke("evaluate", "sampler=ode", "steps=2", *where)
    assert first == invoke("evaluate", "sampler=ode", "steps=2", *where, "--force")
    assert "not finished yet" in invoke("evaluate", "steps=7", *where, code=1)
    assert "DDIM" in invoke("list", "sampler")
    assert "Did you mean 'sampler'" in invoke("list", "samplers", code=1)
    assert "256 examples" in invoke("data", "status")
    assert "places: 0 examples" in invoke(
        "data", "status", "data=places", f"paths.data={results}", code=1
    )
    listed = invoke("status", f"paths.results={results}")
    assert listed.count("finished") == 8


def test_two_runs_compared_example_by_example(results):
    where = f"paths.results={results}"
    ode, sde = (
        run
        for run in RunStore(results).runs()
        if run.spec.steps == 2 and run.spec.data.params["masks"] == "small"
    )
    output = invoke("compare", sde.id, ode.path.name, where, "--examples", "2")
    (line,) = [line for line in output.splitlines() if line.startswith("| psnr ↑")]
    assert line.count("[") == 3
    assert "- sampler: A sde, B ode" in output
    sheet = output.split("contact sheet: ")[1].strip()
    assert sheet == str(results / "figures" / f"compare__{sde.id}__{ode.id}.png")
    Image.open(sheet).load()
    assert "Did you mean 'psnr'" in invoke(
        "compare", sde.id, ode.id, where, "--metric", "psn", code=1
    )


def test_one_table_shows_both_values_of_an_option(tiny_model, tmp_path):
    """One value is the default, which the run id leaves out."""
    asked = ["task=reconstruct", "sampler=ode", "sampler.inversion_time=start,end", "steps=2"]
    how = ["task.guidance=3", "data.limit=2", "metrics=[psnr]", f"model.path={tiny_model}"]
    where = f"paths.results={tmp_path}"
    done = invoke("run", *asked, *how, where)
    assert "inversion_time=start" in done
    assert "inversion_time=end" in done
    invoke("table", "exactness", "steps=2", "task.guidance=3", where)
    table = json.loads((tmp_path / "tables" / "exactness.json").read_text())
    values = {row["label"]: row["cells"][0]["value"] for row in table["blocks"][0]["rows"]}
    forms = [values[f"DDIM inversion, {form}float32"] for form in ("", "asks at the end, ")]
    assert None not in forms
    assert forms[0] != forms[1]
    (start, end) = sorted(RunStore(tmp_path).runs(), key=lambda run: not run.spec.defaults)
    listed = invoke("runs", "sampler.inversion_time=start", where)
    assert start.id in listed
    assert end.id not in listed
