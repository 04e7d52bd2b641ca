"""Tables from Python: the stored one, or one made of the runs that there are."""

import pytest

import sde_edit as se
from sde_edit.commands.table import publish_table
from sde_edit.store.runs import RunStore
from tests.builders import ROOT, finished_run, make_spec


@pytest.fixture
def filled(tmp_path):
    store = RunStore(tmp_path)
    for masks in ("small", "large"):
        for steps in (25, 50, 100):
            for sampler, value in (("ode", 20.0), ("sde", 21.0)):
                spec = make_spec(sampler, steps, data_params={"masks": masks})
                finished_run(store, spec, {"psnr": value, "fid": 10 - value / 10})
    return tmp_path


def test_the_stored_table_is_read(tmp_path):
    table = se.table("table2", results=ROOT / "results")
    assert str(table) == (ROOT / "results" / "tables" / "table2.md").read_text()


def test_without_a_stored_one_it_is_made_and_not_written(filled):
    made = se.table("table2", results=filled)
    assert not (filled / "tables").exists()
    publish_table("table2", [f"paths.results={filled}"])
    assert se.table("table2", results=filled) == made


def test_overrides_choose_among_the_runs(filled):
    publish_table("table2", [f"paths.results={filled}"])
    with pytest.raises(se.UserError, match="no finished run for table2"):
        se.table("table2", "dtype=bfloat16", results=filled)


@pytest.mark.parametrize("name", ["table22", "../x"])
def test_an_unknown_table_is_refused(name, tmp_path):
    with pytest.raises(se.UserError, match=r"no table|leads out|\.\./x"):
        se.table(name, results=tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "table2.json").write_text("{")
    with pytest.raises(se.UserError, match=r"table2.json holds no table"):
        se.table("table2", results=tmp_path)


def test_a_frame_has_a_row_per_cell(filled):
    pytest.importorskip("pandas")
    frame = se.table("table2", results=filled).to_pandas()
    rows = frame[(frame["metric"].str.lower() == "psnr") & (frame["kind"] == "arm")]
    assert sorted({*rows["value"].dropna()}) == [20.0, 21.0]
