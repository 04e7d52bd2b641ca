"""Image to image from the command line: t_0 swept in one go, masks found once, both resumed."""

import re
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.api.observer import Observer
from sde_edit.cli import main
from sde_edit.commands.run import run_all
from sde_edit.commands.sweep import plan_sweep
from sde_edit.config import experiment
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.plan import plan_run
from sde_edit.engine.producer import inspect_missing
from sde_edit.store.runs import RunStore

STEPS, N = 10, 3


@pytest.fixture
def grid(tmp_path, tiny_model):
    """Overrides of DiffEdit on three scenes and a random model."""
    return [
        *("task=diffedit", "data=shapes-edits", f"data.n={N}", f"steps={STEPS}"),
        *("metrics=[psnr]", "hardware.threads=1", "hardware.batch_size=2"),
        *(f"model.path={tiny_model}", f"paths.results={tmp_path}"),
    ]


def invoke(*overrides, verb="run", code=0):
    outcome = CliRunner().invoke(main, [verb, *overrides])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def found(results):
    """(sampler, t_0) -> run."""
    runs = RunStore(results).runs()
    return {(run.spec.sampler.name, run.spec.task.params["t_0"]): run for run in runs}


def pixels(run):
    return {i: row.pixels for i, row in run.rows().items()}


def test_runs_of_a_t_0_sweep_share_encoding_and_masks(grid, tmp_path):
    invoke(*grid, "sampler=ode,sde", "task.t_0=0.4,0.8")
    runs = found(tmp_path)
    assert set(runs) == {(s, t) for s in ("ode", "sde") for t in (0.4, 0.8)}
    for (_, t_0), run in runs.items():
        assert run.seal.n == N
        down, up = 2 * STEPS * t_0, 2 * STEPS * 0.8
        rows = run.rows().values()
        assert {row.evaluations for row in rows} == {down + up / 2}  # half of the shared way up
        assert {row.evaluations_alone for row in rows} == {2 * down}
    (cache,) = (tmp_path / "cache" / "masks").iterdir()
    for run in runs.values():
        copies = {file.name: file.read_bytes() for file in (run.path / "masks").iterdir()}
        assert copies == {file.name: file.read_bytes() for file in cache.glob("*.png")}
        assert len(copies) == N


def test_seconds_do_not_tell_which_run_found_the_masks(grid, tmp_path, monkeypatch):
    def slowly(preparation, active, model, grid, examples):
        time.sleep(3)
        return [np.ones((64, 64), np.float32) for _ in examples]

    monkeypatch.setattr("sde_edit.engine.execute.prepare", slowly)
    invoke(*grid, "sampler=ode", "data.limit=2")
    (run,) = found(tmp_path).values()
    assert 0 < sum(row.seconds for row in run.rows().values()) < 3


def test_made_together_or_apart_the_images_are_the_same(grid, tmp_path):
    together, apart = (f"paths.results={tmp_path / name}" for name in ("together", "apart"))
    invoke(*grid, "sampler=sde", "task.t_0=0.4,0.8", together)
    for t_0 in (0.4, 0.8):
        invoke(*grid, "sampler=sde", f"task.t_0={t_0}", apart)
    for key, run in found(tmp_path / "apart").items():
        assert pixels(found(tmp_path / "together")[key]) == pixels(run)


def test_what_is_missing_of_one_t_0_is_made_again_alone(grid, tmp_path):
    invoke(*grid, "sampler=ode", "task.t_0=0.4,0.8")
    before = {key: pixels(run) for key, run in found(tmp_path).items()}
    run = found(tmp_path)["ode", 0.4]
    lost = sorted((run.path / "outputs").iterdir())[0]
    lost.unlink()
    said = invoke(*grid, "sampler=ode", "task.t_0=0.4,0.8")
    assert lost.exists(), said
    assert {key: pixels(run) for key, run in found(tmp_path).items()} == before


GUIDED = (  # four methods under one source prompt and guidance, a guidance beside it, and seeds
    ("task=roundtrip", "task.guidance=2.0"),
    ("task=roundtrip", "task.guidance=3.0", "task.t_0=0.5"),
    ("task=p2p", "task.guidance=3.0"),
    ("task=null_text", "task.guidance=3.0", "task.null_steps=1"),
    ("task=diffedit", "task.guidance=3.0"),
    ("task=roundtrip", "task.guidance=2.0", "seed=1"),
)


def test_methods_guidances_and_seeds_share_one_way_up(grid, tmp_path):
    """Planned, counted and recorded alike; the images are those of runs made alone."""
    common = [one for one in grid if not one.startswith(("task=", "paths."))]
    common += ["sampler=ode", "task.source_guidance=1.0", "hardware.loaders=1"]
    arms = [[*common, *arm] for arm in GUIDED]
    together, apart = (f"paths.results={tmp_path / name}" for name in ("together", "apart"))
    composed = [experiment([*arm, together]) for arm in arms]
    planned = inspect_missing([(one, plan_run(one, None)) for one in composed])
    counted = Counted()
    run_all(composed, models=ModelCache(counted))
    for arm in arms:
        run_all([experiment([*arm, apart])])
    made, alone = (by_id(tmp_path / name) for name in ("together", "apart"))
    assert {key: pixels(run) for key, run in made.items()} == {
        key: pixels(run) for key, run in alone.items()
    }
    expected = sum(outlook.evaluations for outlook in planned)
    recorded = [row for run in made.values() for row in run.rows().values()]
    assert sum(row.evaluations for row in recorded) == pytest.approx(expected)
    for key, run in alone.items():
        costs = {i: row.evaluations for i, row in run.rows().items()}
        assert costs == {i: row.evaluations_alone for i, row in made[key].rows().items()}
    assert planned[-1].evaluations == 0
    assert counted.evaluations == expected + N * 2 * 10  # with the search for the masks


def test_a_run_whose_images_break_does_not_stop_those_made_with_it(grid, tmp_path):
    arms = ["task=roundtrip", "task.source_guidance=1.0", "task.guidance=2.0,1e38", "sampler=ode"]
    said = invoke(*grid, *arms, code=1)
    assert re.search(r"guidance=1e\+38 [^:]*: test-000000, test-000001: the network gave", said)
    assert said.count("NaN or infinity") == 1
    finished = {run.spec.task.params["guidance"]: run.seal for run in RunStore(tmp_path).runs()}
    assert finished.keys() == {2.0}
    assert finished[2.0].n == N


class Counted(Observer):
    """Counts the rows of the network."""

    def __init__(self):
        self.evaluations = 0

    def evaluated(self, rows):
        self.evaluations += rows


def by_id(results):
    return {run.id: run for run in RunStore(results).runs()}


def test_a_mask_from_the_cache_is_used_as_it_is(grid, tmp_path):
    """An emptied mask leaves the source: the autoencoder's own image.

    A mask without a checksum is one of an older version.
    """
    invoke(*grid, "sampler=ode")
    (cache,) = (tmp_path / "cache" / "masks").iterdir()
    for file in cache.glob("*.png"):
        Image.fromarray(np.zeros((8, 8), bool)).save(file)
        file.with_name(f"{file.name}.sha256").unlink()
    invoke(*grid, "sampler=none,sde")
    runs = {key[0]: pixels(run) for key, run in found(tmp_path).items()}
    assert runs["sde"] == runs["none"] != runs["ode"]


def test_a_sweep_plans_one_job_for_all_t_0(grid):
    sweep = plan_sweep([*grid, "sampler=ode,sde", "task.t_0=0.4,0.8", "shards=2"])
    assert len(sweep.runs) == 4
    overrides = [one for job in sweep.jobs for one in job.overrides]
    said = [[o for o in one if "t_0" in o or "shard=" in o] for one in overrides]
    pairs = [[f"task.t_0={t_0}", f"shard={k}"] for k in (0, 1) for t_0 in (0.4, 0.8)]
    assert said == pairs * 2
    assert [job.images for job in sweep.jobs] == [4, 2] * 2
    assert all(len(run.jobs) == 2 for run in sweep.runs)
    down = {t_0: N * 2 * STEPS * t_0 for t_0 in (0.4, 0.8)}
    assert list(sweep.evaluations) == [down[0.4], 2 * down[0.8]] * 2


@pytest.mark.usefixtures("no_workers")
def test_a_sweep_of_t_0_in_shards_is_sealed(grid, tmp_path):
    invoke(*grid, "task.t_0=0.4,0.8", "shards=2", "launcher.workers=1", verb="sweep")
    assert all(run.seal and run.seal.n == N for run in found(tmp_path).values())
    assert len(found(tmp_path)) == 2


# ------------------------------------------------------------------ the paper's tables, small


@pytest.mark.usefixtures("no_workers")
def test_table_8_and_figure_2_from_bison_files(tmp_path, tiny_model, coco):
    """The real preset, on a small random pipeline and files in the official form."""
    printed = invoke(
        *("table=table8", "experiment=diffedit_bison_sd15", "data=coco-bison", "data.limit=null"),
        *("data.split=val2017", "task.t_0=0.3,0.8", "steps=4", "dtype=float32"),
        *("metrics=[shapes_fid,shapes_clip,shapes_source_lpips]", "hardware.threads=1"),
        *("launcher.workers=1", f"model.path={tiny_model}", f"paths.results={tmp_path}", *coco),
        verb="sweep",
    )
    assert str(tmp_path / "figures" / "figure2.png") in printed
    text = (tmp_path / "tables" / "table8.md").read_text()
    assert "| Paper DiffEdit-SDE" in text
    assert "7.20" in text
    assert "9.25" in text
    assert "8.65" not in text  # of a t_0 that was not asked for


@pytest.mark.usefixtures("no_workers")
def test_table_6_from_official_checkpoints_and_class_folders(tmp_path, tiny_adm, imagenet):
    """The real preset, on small random networks."""
    invoke(
        *("table=table6", "experiment=ddib_imagenet_adm", "data=imagenet", "data.limit=null"),
        *("data.pair=n02129165-n02129604", "steps=3", "dtype=float32", "hardware.threads=1"),
        *("metrics=[source_l2,source_ssim]", "launcher.workers=1", f"model.path={tiny_adm}"),
        *(*imagenet, f"paths.results={tmp_path}"),
        verb="sweep",
    )
    text = (tmp_path / "tables" / "table6.md").read_text()
    assert "DDIB-SDE" in text
    assert "68.21" in text
    runs = RunStore(tmp_path).runs()
    assert {run.seal.n for run in runs} == {3}
    up = {run.spec.task.params.get("source_guidance") for run in runs}
    assert up == {0.0, None}  # the label alone
    costs = {run.spec.task.name: {r.evaluations for r in run.rows().values()} for run in runs}
    assert costs == {"ddib": {6.0}, "sample": {3.0}}
