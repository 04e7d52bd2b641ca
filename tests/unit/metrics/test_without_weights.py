"""Metrics that need no weights, against their definitions."""

from dataclasses import fields

import numpy as np
import pytest
import torch
import yaml
from scipy import linalg, ndimage
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.metric import Metric
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import captions, distribution_references, reference, references
from sde_edit.metrics.frechet import frechet_distance
from sde_edit.metrics.kernel_distance import kernel_distance
from sde_edit.registry import build, kinds, plugin_class
from tests.builders import ROOT

CONF = ROOT / "conf" / "metric"


def pair(seed: int, *, n: int = 4, size: int = 24) -> tuple[Tensor, list[Example]]:
    """Outputs that differ from their truths, and the examples."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    noise = rng.integers(-40, 41, truths.shape)
    outputs = np.clip(truths.astype(int) + noise, 0, 255).astype(np.uint8)
    masks = (rng.random((n, size, size)) < 0.4).astype(np.float32)
    examples = [
        Example(
            f"e{i}", image=255 - truths[i], caption=f"image {i}", mask=masks[i], truth=truths[i]
        )
        for i in range(n)
    ]
    return torch.from_numpy(outputs), examples


def truths_of(examples: list[Example]) -> np.ndarray:
    return np.stack([reference(example) for example in examples])


def test_reference_is_the_truth_where_it_is_known():
    image, truth = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    assert reference(Example("a", image, truth=truth)) is truth
    assert reference(Example("a", image)) is image
    assert reference(Example("a", image, truth=truth), "source") is image


@pytest.mark.parametrize("kind", ["psnr", "ssim", "l2"])
def test_a_metric_against_the_source_leaves_the_truth_alone(kind):
    outputs, examples = pair(4)
    sources = [Example(example.id, example.image) for example in examples]
    metric, plain = build("metrics", kind, {"against": "source"}), build("metrics", kind, {})
    torch.testing.assert_close(metric.measure(outputs, examples), plain.measure(outputs, sources))
    assert "against the source image" in metric.convention()
    assert "against the reference" in plain.convention()


def test_distributions_are_compared_with_the_example_s_own_reference():
    image, truth, other = (np.full((2, 2, 3), value, np.uint8) for value in range(3))
    examples = [
        Example("a", image),
        Example("b", image, truth=truth),
        Example("c", image, reference=other),
        Example("d", image, truth=truth, reference=other),
    ]
    assert distribution_references(examples)[:, 0, 0, 0].tolist() == [0, 1, 2, 2]
    assert references(examples)[:, 0, 0, 0].tolist() == [0, 1, 0, 1]


def test_an_edit_is_to_show_its_target():
    image = np.zeros((2, 2, 3), np.uint8)
    examples = [Example("a", image, "a cat"), Example("b", image, "a cat", target="a dog")]
    assert captions(examples) == ["a cat", "a dog"]
    assert captions([Example("c", image, target="a dog")]) == ["a dog"]
    with pytest.raises(UserError, match="'d' has no caption"):
        captions([*examples, Example("d", image)])


# ------------------------------------------------------------------ values per image


def test_psnr_by_hand():
    outputs, examples = pair(0)
    difference = (outputs.numpy().astype(float) - truths_of(examples)) / 255
    expected = 10 * np.log10(1 / (difference**2).mean((1, 2, 3)))
    rows = build("metrics", "psnr", {}).measure(outputs, examples)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-12)


def test_psnr_of_identical_images_is_finite():
    outputs, examples = pair(0)
    rows = build("metrics", "psnr", {}).measure(torch.from_numpy(truths_of(examples)), examples)
    np.testing.assert_allclose(rows[:, 0], 20 * np.log10(510))
    assert outputs.shape == (4, 24, 24, 3)


def wang_ssim(x: np.ndarray, y: np.ndarray, value_range: float) -> float:
    """Wang et al. 2004, Eq. 13, per channel with borders reflected; x, y [H, W, 3]."""

    def blur(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(image, 1.5, truncate=3.5, mode="mirror", axes=(0, 1))

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * cov + c2) / (var_x + var_y + c2)).mean())


@pytest.mark.parametrize("signed", [False, True])
def test_ssim_matches_wang_in_either_range(signed):
    outputs, examples = pair(1)
    scale = 2 if signed else 1
    x, y = (
        i.astype(float) / 255 * scale - scale + 1 for i in (outputs.numpy(), truths_of(examples))
    )
    expected = [wang_ssim(a, b, scale) for a, b in zip(x, y, strict=True)]
    rows = build("metrics", "ssim", {"signed": signed}).measure(outputs, examples)
    np.testing.assert_allclose(rows[:, 0], expected, atol=2e-6)


@pytest.mark.parametrize("region", ["hidden", "known"])
def test_masked_error_counts_its_region_alone(region):
    outputs, examples = pair(2)
    values = build("metrics", "masked_error", {"region": region}).measure(outputs, examples)[:, 0]
    for value, output, example in zip(values, outputs.numpy(), examples, strict=True):
        inside = (example.mask > 0.5) == (region == "hidden")
        difference = (output[inside].astype(float) - example.truth[inside]) / 255
        assert float(value) == pytest.approx((difference**2).mean())


def test_masked_error_names_the_example_without_such_pixels():
    outputs, (first, *_) = pair(2)
    full = Example("full", first.image, mask=np.ones((24, 24), np.float32))
    known = build("metrics", "masked_error", {"region": "known"})
    with pytest.raises(UserError, match=r"'full' leaves no known pixel"):
        known.measure(outputs[:1], [full])
    with pytest.raises(UserError, match=r"'bare' has no mask"):
        known.measure(outputs[:1], [Example("bare", first.image)])


def test_l2_is_the_norm_and_not_the_mean():
    outputs, examples = pair(0)
    difference = (outputs.numpy().astype(float) - truths_of(examples)) / 255
    expected = [np.linalg.norm(one.ravel()) for one in difference]
    rows = build("metrics", "l2", {}).measure(outputs, examples)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-12)


def test_l2_of_black_and_white():
    white = torch.full((1, 256, 256, 3), 255, dtype=torch.uint8)
    black = Example("black", np.zeros((256, 256, 3), np.uint8))
    rows = build("metrics", "l2", {}).measure(white, [black])
    assert rows.item() == pytest.approx(3**0.5 * 256)
    assert not build("metrics", "l2", {}).measure(torch.zeros_like(white), [black]).any()


@pytest.mark.parametrize("kind", ["psnr", "ssim", "masked_error", "l2"])
def test_batch_of_four_is_four_batches_of_one(kind):
    outputs, examples = pair(3)
    metric = build("metrics", kind, {})
    apart = [metric.measure(outputs[i : i + 1], examples[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(metric.measure(outputs, examples), torch.cat(apart))


# ------------------------------------------------------------------ distances of distributions


def features(seed: int, n: int, d: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d))


def textbook_frechet(x: np.ndarray, y: np.ndarray) -> float:
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(s1 @ s2)
    return float(
        ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real
    )


@pytest.mark.parametrize(("n", "d"), [(200, 12), (13, 12)])
def test_frechet_matches_the_textbook(n, d):
    x, y = features(0, n, d), features(1, n, d)
    expected = textbook_frechet(x.numpy(), y.numpy())
    assert float(frechet_distance(x, y, torch.ones(n).double())) == pytest.approx(expected)


def test_frechet_with_fewer_images_than_features():
    """Regularised until the textbook root exists, then let the regularisation go to 0."""
    x, y = features(0, 10, 24), features(1, 10, 24)
    s1, s2 = (np.cov(z.numpy(), rowvar=False) + 1e-9 * np.eye(24) for z in (x, y))
    root = linalg.sqrtm(linalg.sqrtm(s1) @ s2 @ linalg.sqrtm(s1)).real
    shift = (x.mean(0) - y.mean(0)).square().sum()
    expected = float(shift) + np.trace(s1 + s2 - 2 * root)
    actual = float(frechet_distance(x, y, torch.ones(10).double()))
    assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [4, 500])
def test_frechet_of_a_shifted_and_scaled_copy_is_known(n):
    """y = 3 x + 1: means differ, S2 = 9 S1, so the spread term is (3 - 1)^2 tr S1."""
    x = features(0, n, 8)
    expected = ((2 * x.mean(0) + 1) ** 2).sum() + 4 * x.var(0).sum()
    distance = frechet_distance(x, 3 * x + 1, torch.ones(n).double())
    assert float(distance) == pytest.approx(float(expected))
    assert float(frechet_distance(x, x, torch.ones(n).double())) == pytest.approx(0, abs=1e-10)


def brute_mmd(x: Tensor, y: Tensor) -> float:
    """Gretton et al. 2012, Eq. 3, with the kernel of Binkowski et al. 2018, by loops."""

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n = len(x)
    within = sum(k(z[i], z[j]) for z in (x, y) for i in range(n) for j in range(n) if i != j)
    across = sum(k(a, b) for a in x for b in y)
    return within / (n * (n - 1)) - 2 * across / n**2


def test_kernel_distance_matches_loops_and_resampling(monkeypatch):
    monkeypatch.setattr("sde_edit.metrics.kernel_distance._BLOCK", 3)
    x, y = features(0, 7, 5), features(1, 7, 5)
    drawn = torch.tensor([0, 2, 2, 5, 6, 6, 6])
    counts = torch.stack([torch.ones(7), torch.bincount(drawn, minlength=7)]).double()
    expected = [brute_mmd(x, y), brute_mmd(x[drawn], y[drawn])]
    np.testing.assert_allclose(kernel_distance(x, y, counts), expected)


def test_kernel_distance_is_that_of_clean_fid():
    from cleanfid.fid import kernel_distance as theirs

    x, y = features(0, 30, 16), features(1, 30, 16)
    expected = theirs(x.numpy(), y.numpy(), num_subsets=1, max_subset_size=30)
    assert float(kernel_distance(x, y, torch.ones(1, 30).double())) == pytest.approx(expected)


def test_kernel_distance_is_unbiased():
    """Over independent pairs of samples of one distribution its mean is 0 within its error."""
    ones = torch.ones(1, 20).double()
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 400, 20, 4, dtype=torch.float64, generator=draw)
    values = torch.stack([kernel_distance(a, b, ones)[0] for a, b in zip(x, y, strict=True)])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 400**0.5


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


# ------------------------------------------------------------------ configuration


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_metric_of_conf_builds_and_states_its_convention(file):
    params = yaml.safe_load(file.read_text())
    assert params.pop("name") == file.stem
    metric = build("metrics", params.pop("kind"), params)
    assert set(params) == {field.name for field in fields(metric)}, "conf gives every setting"
    assert len(metric.convention()) > 20
    assert isinstance(metric.higher_is_better, bool)
    assert metric.resamplings > 0


def test_every_kind_has_a_configuration():
    used = {yaml.safe_load(file.read_text())["kind"] for file in CONF.glob("*.yaml")}
    assert used == set(kinds("metrics"))


def test_unknown_extractor_is_refused():
    with pytest.raises(UserError, match="extractor"):
        build("metrics", "frechet", {"extractor": "inception"})


def test_a_misspelt_method_of_a_metric_is_refused_at_import():
    with pytest.raises(TypeError, match=r"Typo\.agregate.*Did you mean 'aggregate'"):

        class Typo(Metric):
            def agregate(self, rows_ND, counts_BN):
                return rows_ND.mean()


def test_every_metric_and_data_set_cites_its_paper_or_none():
    groups = {group: kinds(group) for group in ("metrics", "datasets")}
    found = [plugin_class(group, kind).citation for group in groups for kind in groups[group]]
    assert all("author" in citation.bibtex() for citation in found if citation is not None)
