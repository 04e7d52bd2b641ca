"""Two runs compared from Python say what `sde-edit compare` says."""

import pytest

import sde_edit as se
from sde_edit.api.metric import centred_interval
from sde_edit.commands.compare import describe, open_pair
from tests.unit.python.conftest import GMM


def test_it_is_the_commands_table(pair, results):
    ode, sde = pair
    given = [f"paths.results={results}"]
    assert str(se.compare(sde, ode)) == describe(open_pair(sde.id, ode.id, given))
    assert str(se.compare(sde.id, ode.path, results=results)) == str(se.compare(sde, ode))


def test_differences_are_paired_and_counted(pair):
    ode, sde = (run.scores["psnr"] for run in pair)
    found = se.compare(*reversed(pair)).differences["psnr"]
    assert found.difference == pytest.approx(sde.value - ode.value)
    replicates = [x - y for x, y in zip(sde.replicates, ode.replicates, strict=True)]
    assert (found.low, found.high) == pytest.approx(centred_interval(found.difference, replicates))
    better = [i for i in pair[0].ids if sde.per_example[i] > ode.per_example[i]]
    assert (found.n, found.a_better, found.equal) == (5, len(better), 0)
    decided = found.low > 0 or found.high < 0
    assert found.verdict == (
        ("A" if found.low > 0 else "B") + " better" if decided else "undecided"
    )


def test_runs_of_different_examples_are_compared_on_the_common_ones(pair, tmp_path):
    given = ("task=inpaint", "sampler=sde", "steps=3", "seed=1", *GMM)
    (short,) = se.run(*given, limit=3, results=tmp_path)
    found = se.compare(pair[0], short).differences["psnr"]
    assert found.n == 3
    values = pair[0].scores["psnr"].per_example
    assert found.a == pytest.approx(sum(values[i] for i in short.ids) / 3)


def test_a_sheet_of_the_examples_that_differ_most(pair):
    compared = se.compare(*pair)
    assert compared.contact_sheet(examples=2).height < compared.contact_sheet(examples=4).height
    with pytest.raises(se.UserError, match="no metric 'fid' per example"):
        compared.contact_sheet("fid")


def test_a_run_and_itself_are_refused(pair):
    with pytest.raises(se.UserError, match="the same run"):
        se.compare(pair[0], pair[0])


def test_frames(pair):
    pytest.importorskip("pandas")
    compared = se.compare(*pair)
    summary, each = compared.to_pandas(), compared.per_example("psnr")
    assert summary.loc["psnr", "difference"] == compared.differences["psnr"].difference
    assert ((each["a"] - each["b"]) - each["gain"]).abs().max() == 0
