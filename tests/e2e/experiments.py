"""Runs from the command line, on small random models."""

from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.store.runs import RunStore


def run(tmp_path, *overrides, verb="run", code=0):
    """The output of `sde-edit run` with these overrides, or of another verb."""
    where = [f"paths.results={tmp_path / 'results'}", "hardware.threads=1", "metrics=[psnr]"]
    outcome = CliRunner().invoke(main, [verb, *overrides, *where])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def rows(tmp_path, sampler):
    """Id -> record of the images of the one run with this sampler."""
    (found,) = [r for r in RunStore(tmp_path / "results").runs() if r.spec.sampler.name == sampler]
    return found.rows()
