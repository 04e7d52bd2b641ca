"""Every YAML composes and builds; every plug-in has a name, a line of description, a version."""

import pytest

from sde_edit.commands.contact_sheets import sheet_settings
from sde_edit.commands.table import build_table, publish_table
from sde_edit.config import (
    compose_config,
    group_file,
    launcher,
    metric,
    parsed,
    table_grids,
)
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PerImageMetric
from sde_edit.overrides import expand
from sde_edit.registry import GROUPS, build, conf_dir, groups, kinds, listing, names, plugin_class
from tests.builders import composed, in_groups

COMPOSED = (
    *("data", "experiment", "hardware", "launcher", "model", "paths", "sampler", "task", "wandb"),
)
_FOLDERS = ("folder", "sample_cifar10", "sample_scribble_sd15")
GIVEN = {name: ["data.images=i"] for name in _FOLDERS} | {
    "picture": ["data.image=i"],
    "external": ["sampler.outputs=o"],
}


def every(wanted):
    return [(group, name) for group in wanted for name in names(group)]


@pytest.mark.parametrize(("group", "name"), every(COMPOSED))
def test_composes(group, name):
    config = compose_config([f"{group}={name}", *GIVEN.get(name, [])])
    assert config["task"]["kind"] in kinds("tasks")
    assert config["sampler"]["kind"] in kinds("samplers")
    assert config["model"]["kind"] in kinds("models")
    assert config["data"]["kind"] in kinds("datasets")
    for chosen in config["metrics"]:
        assert metric(chosen).metric.convention()


@pytest.mark.parametrize("name", names("metric"))
def test_metric_builds(name):
    assert metric(name).spec.name == name


@pytest.mark.parametrize("name", names("launcher"))
def test_launcher_builds(name):
    assert type(launcher([f"launcher={name}"])).__module__ == f"sde_edit.engine.launchers.{name}"


OF_RUNS = [name for name in names("table") if "runs" in group_file("table", name)]


@pytest.mark.parametrize("name", in_groups(OF_RUNS))
def test_table_builds_and_its_runs_are_overrides(name):
    with pytest.raises(UserError, match=r"sde-edit (sweep|run)"):
        build_table(group_file("table", name), [])
    for grid in table_grids(group_file("table", name)):
        composed(expand(grid)[-1])


@pytest.mark.parametrize("name", sorted({*names("table")} - {*OF_RUNS}))
def test_table_of_a_data_set_builds_on_its_own(name, tmp_path):
    written = publish_table(name, [f"paths.results={tmp_path}"])
    assert {path.suffix for path in written} == {".md", ".csv", ".tex", ".json"}
    assert all(path.read_text() for path in written)


def has_value_per_image(metric):
    return isinstance(metric, PerImageMetric) or "per_example" in vars(type(metric))


@pytest.mark.parametrize("name", names("table"))
def test_figure_and_sheets_of_a_table_build(name):
    config = group_file("table", name)
    assert any(sheet_settings(config)) == bool(config.keys() & {"sheet", "failures"})
    if figure := config.get("figure"):
        settings = {key: value for key, value in figure.items() if key not in ("kind", "name")}
        build("figures", figure["kind"], settings)
    if failures := sheet_settings(config)[1]:
        for wanted in failures.metrics:
            assert has_value_per_image(metric(wanted).metric), wanted


def test_there_is_no_group_that_this_file_forgets():
    assert set(groups()) == {*COMPOSED, "claim", "metric", "table"}


@pytest.mark.parametrize("group", groups())
def test_listing_describes_every_name(group):
    described = listing(group)
    assert list(described) == names(group)
    assert all(described.values()), described


@pytest.mark.parametrize(("group", "kind"), [(g, k) for g in GROUPS for k in kinds(g)])
def test_plugin_is_one_documented_class(group, kind):
    plugin = plugin_class(group, kind)
    assert kinds(group)[kind], "the file's docstring needs a first line"
    assert plugin.__doc__
    if group not in ("tables", "figures"):
        assert plugin.version >= 1


@pytest.mark.parametrize(("group", "folder"), [
    ("tasks", "task"), ("samplers", "sampler"), ("models", "model"), ("datasets", "data"),
    ("metrics", "metric"), ("tables", "table"),
])  # fmt: skip
def test_every_plugin_has_a_config(group, folder):
    used = {group_file(folder, name)["kind"] for name in names(folder)}
    assert used == set(kinds(group))


def test_values_of_overrides():
    assert parsed(["dtype=bfloat16", "task.guidance=3"]) == {
        "dtype": "bfloat16",
        "task.guidance": 3,
    }
    with pytest.raises(UserError, match="one value each"):
        parsed(["steps=25,50"])


def test_conf_is_found():
    assert (conf_dir() / "config.yaml").is_file()
