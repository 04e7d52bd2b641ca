"""What every metric keeps to, found through the registry and the configs."""

from dataclasses import fields
from functools import cache

import pytest
import torch
import yaml

from sde_edit.config import metric
from sde_edit.contracts.metrics import CHECKS, check_rows
from sde_edit.errors import UserError
from sde_edit.registry import build, kinds, names, plugin_class
from tests.builders import ROOT

CONF = ROOT / "conf" / "metric"
# Their networks are not part of the package; sde-edit test-plugin checks them where they are.
DOWNLOADED = {
    *("background_lpips", "clip", "drag_distance", "edited_clip", "fid", "fid_legacy", "kid"),
    *("image_fidelity", "lpips", "masked_drag_distance", "source_clip", "source_lpips"),
    "structure",
}


@cache
def loaded(name):
    found = metric(name).metric
    found.load("cpu")
    return found


def checks():
    """Every metric with every check. One metric takes seconds for an image: one check of it is
    always made, the others are slow."""
    for name in sorted({*names("metric")} - DOWNLOADED):
        for check in CHECKS:
            costs = "drag_distance" in name and check is not check_rows
            marks = [pytest.mark.slow] if costs else []
            yield pytest.param(name, check, marks=marks, id=f"{name}-{check.__name__}")


@pytest.mark.parametrize(("name", "check"), [*checks()])
def test_keeps_to(name, check):
    check(loaded(name))


@pytest.mark.parametrize("kind", ["frechet", "kernel_distance"])
def test_one_image_has_no_distribution(kind):
    found = build("metrics", kind, {"extractor": "shapes"})
    with pytest.raises(UserError, match="two images"):
        found.aggregate(torch.zeros(1, 4).double(), torch.ones(1, 1).double())


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_metric_of_conf_builds_and_gives_every_setting(file):
    params = yaml.safe_load(file.read_text())
    assert params.pop("name") == file.stem
    found = build("metrics", params.pop("kind"), params)
    assert set(params) == {field.name for field in fields(found)}
    assert len(found.convention()) > 20
    assert 0 < found.tolerance < 1e-4


def test_every_kind_has_a_configuration():
    used = {yaml.safe_load(file.read_text())["kind"] for file in CONF.glob("*.yaml")}
    assert used == set(kinds("metrics"))


def test_every_metric_and_data_set_cites_its_paper_or_none():
    groups = {group: kinds(group) for group in ("metrics", "datasets")}
    found = [plugin_class(group, kind).citation for group in groups for kind in groups[group]]
    assert all("author" in citation.bibtex() for citation in found if citation is not None)
