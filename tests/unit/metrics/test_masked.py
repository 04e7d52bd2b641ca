"""PIE-Bench's metrics of a region, against a plain transcription of its evaluation code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sde_edit.api.metric import NamedMetric
from sde_edit.api.spec import ComponentSpec
from sde_edit.config import metric as named
from sde_edit.errors import UserError
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, loaded, pair


def multiplied(image, mask, *, inside):
    """The mask with its border set, then the product, in [0, 1]: float32 [1, 3, H, W]."""
    mask = mask.copy()
    mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = 1
    kept = mask if inside else 1 - mask
    product = image.astype(np.float32) / 255 * kept[:, :, None].astype(np.float32)
    return torch.tensor(product).permute(2, 0, 1)[None]


def background(image, example):
    return (
        multiplied(image, example.mask, inside=False),
        multiplied(example.image, example.mask, inside=False),
    )


def published(name):
    """The published value of an image, by the package that computed it."""
    import torchmetrics
    from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

    of = {
        "background_psnr": PeakSignalNoiseRatio(data_range=1.0),
        "background_ssim": StructuralSimilarityIndexMeasure(data_range=1.0),
        "background_mse": torchmetrics.MeanSquaredError(),
    }[name]
    return lambda image, example: of(*(x.contiguous() for x in background(image, example))).item()


@pytest.mark.parametrize("name", ["background_psnr", "background_ssim", "background_mse"])
def test_a_background_metric_is_the_published_one(name):
    outputs, examples = pair(3)
    metric = named(name).metric
    rows = metric.measure(outputs, examples)
    expected = [*map(published(name), outputs.numpy(), examples)]
    torch.testing.assert_close(rows[:, 0], torch.tensor(expected).double(), rtol=1e-5, atol=1e-7)
    assert rows[:, 1].tolist() == [1.0] * len(examples)
    assert_batches_agree(metric, outputs, examples)


@pytest.mark.filterwarnings("ignore:.*pretrained:UserWarning")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
def test_background_lpips_is_the_published_one(hub):
    import lpips
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = squeezenet1_1()
    url = SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    torch.save(backbone.state_dict(), hub / url.rsplit("/", 1)[1])
    outputs, examples = pair(5, n=2, size=40)
    metric = named("background_lpips").metric
    metric.load("cpu")
    network = lpips.LPIPS(net="squeeze", verbose=False)
    with torch.no_grad():
        expected = [
            network(*(x * 2 - 1 for x in background(image, example))).item()
            for image, example in zip(outputs.numpy(), examples, strict=True)
        ]
    rows = metric.measure(outputs, examples)
    torch.testing.assert_close(rows[:, 0], torch.tensor(expected).double(), rtol=1e-4, atol=1e-6)
    assert "net squeeze" in metric.convention()


class Seen:
    """Stands for a metric: keeps what it was given."""

    def measure(self, images, examples):
        self.images, self.examples = images, examples
        return torch.ones(len(examples), 1).double()


def test_the_edited_region_keeps_the_mask_and_the_border():
    outputs, examples = pair(7, n=1)
    metric = build("metrics", "masked", {"of": {"kind": "mse"}, "region": "edited"})
    metric.__dict__["_metric"] = seen = Seen()
    metric.measure(outputs, examples)
    expected = multiplied(outputs[0].numpy(), examples[0].mask, inside=True)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(seen.images[0], (expected * 255).round().byte())
    assert (seen.images[0, 0] == outputs[0, 0]).all()


def test_an_example_without_background_has_no_value_and_leaves_the_mean_alone():
    outputs, examples = pair(9)
    examples[1] = replace(examples[1], mask=np.ones((24, 24), np.float32))
    of = build("metrics", "masked", {"of": {"kind": "psnr"}, "region": "background"})
    rows = of.measure(outputs, examples)
    assert rows[1].tolist() == [0, 0]
    kept = dict(zip((e.id for e in examples), rows, strict=True))
    score = score_of(NamedMetric(ComponentSpec("p", "masked", 1), of), kept, 200, seal="")
    others = rows[[0, 2, 3], 0]
    assert score.value == pytest.approx(float(others.mean()))
    assert score.per_example == pytest.approx(
        dict(zip(("e0", "e2", "e3"), others.tolist(), strict=True))
    )
    assert score.n == 4
    assert others.min() <= min(score.replicates) <= max(score.replicates) <= others.max()


def test_a_resampling_without_any_value_has_the_mean():
    of = build("metrics", "masked", {"of": {"kind": "psnr"}, "region": "background"})
    rows = torch.tensor([[0.0, 0.0], [10.0, 1.0], [20.0, 1.0]]).double()
    counts = torch.tensor([[3.0, 0.0, 0.0], [1.0, 2.0, 0.0]]).double()
    assert of.aggregate(rows, counts).tolist() == [15.0, 10.0]


def test_examples_that_are_all_edited_are_an_error():
    outputs, examples = pair(11, n=2)
    whole = [replace(example, mask=np.ones((24, 24), np.float32)) for example in examples]
    of = build("metrics", "masked", {"of": {"kind": "psnr"}, "region": "background"})
    with pytest.raises(UserError, match="no background pixel in any example"):
        of.aggregate(of.measure(outputs, whole), torch.ones(1, 2).double())


def test_it_is_as_the_metric_that_it_masks():
    ssim, psnr = (loaded("masked", of={"kind": k}, region="background") for k in ("ssim", "psnr"))
    assert ssim.higher_is_better
    assert (ssim.tolerance, psnr.tolerance) == (2.0**-18, 2.0**-26)
    assert ssim.convention().startswith(f"ssim 1: {build('metrics', 'ssim', {}).convention()}; ")
    small, whole = pair(0, n=1, size=4)[1][0], pair(0, n=1)[1][0]
    with pytest.raises(UserError, match="SSIM needs sides of 6"):
        ssim.check(small)
    with pytest.raises(UserError, match="'e0' has no mask"):
        ssim.check(replace(whole, mask=None))
    ssim.check(whole)


@pytest.mark.parametrize(("of", "message"), [
    ({"kind": "psnrr"}, "Did you mean 'psnr'"),
    ({"kind": "psnr", "against": "sauce"}, r"of\.against=sauce"),
    ({"kind": "frechet", "extractor": "shapes"}, r"of\.kind=frechet: has no value for each image"),
    ({"against": "source"}, r"of\.kind: must be given"),
])  # fmt: skip
def test_refuses_metrics(of, message):
    with pytest.raises(UserError, match=message):
        build("metrics", "masked", {"of": of, "region": "background"})
