"""`sde-edit power`, and the count at the end of `sde-edit table`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands.power import describe_power
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore
from tests.builders import add_score, finished_run
from tests.unit.report.inpainting import inpaint_spec


@pytest.fixture
def results(tmp_path: Path) -> str:
    """The folder of two runs of Table 2 whose difference of -1 has replicates of deviation 0.4."""
    store = RunStore(tmp_path)
    for sampler, value in (("ode", 5.0), ("sde", 4.0)):
        run = finished_run(store, inpaint_spec(sampler), {}, n=32)
        spread = 0.4 * (sampler == "sde")
        replicates = [value + spread * (-1) ** b for b in range(1000)]
        add_score(run, "shapes_fid", value, replicates=replicates)
    return f"paths.results={tmp_path}"


def test_power_says_the_n_that_is_needed_and_what_could_be_seen(results: str) -> None:
    (line,) = [x for x in describe_power(["table=table2", results]).splitlines() if "−1.00" in x]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:2] == ["shapes_fid", "SDE at 7.5 − ODE at 7.5"]
    assert cells[2] == "small masks, 25"
    # sigma = 0.4 * 32 / sqrt(31): n = (2.8016 sigma)^2 + 1.92, and 2.8016 sigma / sqrt(30.08)
    assert cells[4:6] == ["32", "44"]
    assert cells[6].startswith("1.17")


def test_power_needs_a_table_with_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="power looks at one table"):
        describe_power([f"paths.results={tmp_path}"])
    with pytest.raises(UserError, match="no finished run for table2"):
        describe_power(["table=table2", f"paths.results={tmp_path}"])


def test_a_table_ends_with_the_number_of_decided_comparisons(results: str) -> None:
    written = CliRunner().invoke(main, ["table", "table2", results])
    assert written.exit_code == 0, written.output
    last = written.output.splitlines()[-1]
    assert last == "1 of 1 comparisons decided; 1 without the correction for their number"
    shown = CliRunner().invoke(main, ["power", "table=table2", results])
    assert "could be seen" in shown.output
