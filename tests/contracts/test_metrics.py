"""What every metric keeps to, found through the registry and the configs."""

from dataclasses import fields

import pytest
import torch
import yaml

from sde_edit.errors import UserError
from sde_edit.registry import build, kinds, plugin_class
from tests.builders import ROOT
from tests.unit.metrics.inputs import features, pair

CONF = ROOT / "conf" / "metric"


@pytest.mark.parametrize("kind", ["psnr", "ssim", "masked_error", "l2"])
def test_batch_of_four_is_four_batches_of_one(kind):
    outputs, examples = pair(3)
    metric = build("metrics", kind, {})
    apart = [metric.measure(outputs[i : i + 1], examples[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(metric.measure(outputs, examples), torch.cat(apart))


@pytest.mark.parametrize("kind", ["frechet", "kernel_distance"])
def test_counting_is_the_same_as_drawing(kind):
    metric = build("metrics", kind, {"extractor": "shapes"})
    rows = torch.cat([features(0, 9, 4), features(1, 9, 4)], dim=1)
    drawn = torch.tensor([0, 1, 1, 3, 4, 4, 4, 7, 8])
    counts = torch.bincount(drawn, minlength=9).double()[None]
    as_rows = metric.aggregate(rows[drawn], torch.ones(1, 9).double())
    torch.testing.assert_close(metric.aggregate(rows, counts), as_rows)


@pytest.mark.parametrize("kind", ["frechet", "kernel_distance"])
def test_one_image_has_no_distribution(kind):
    metric = build("metrics", kind, {"extractor": "shapes"})
    with pytest.raises(UserError, match="two images"):
        metric.aggregate(torch.zeros(1, 4).double(), torch.ones(1, 1).double())


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_metric_of_conf_builds_and_states_its_convention(file):
    params = yaml.safe_load(file.read_text())
    assert params.pop("name") == file.stem
    metric = build("metrics", params.pop("kind"), params)
    assert set(params) == {field.name for field in fields(metric)}, "conf gives every setting"
    assert len(metric.convention()) > 20
    assert isinstance(metric.higher_is_better, bool)
    assert 0 < metric.tolerance < 1e-4
    assert metric.resamplings > 0


def test_every_kind_has_a_configuration():
    used = {yaml.safe_load(file.read_text())["kind"] for file in CONF.glob("*.yaml")}
    assert used == set(kinds("metrics"))


def test_every_metric_and_data_set_cites_its_paper_or_none():
    groups = {group: kinds(group) for group in ("metrics", "datasets")}
    found = [plugin_class(group, kind).citation for group in groups for kind in groups[group]]
    assert all("author" in citation.bibtex() for citation in found if citation is not None)
