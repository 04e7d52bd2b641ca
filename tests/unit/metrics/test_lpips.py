"""LPIPS, against its package."""

import pytest
import torch

from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, loaded, pair, signed, truths


@pytest.mark.filterwarnings("ignore:.*pretrained:UserWarning")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
def test_lpips_is_the_package(hub, images, examples):
    import lpips
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = squeezenet1_1()
    name = SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    torch.save(backbone.state_dict(), hub / name)
    metric = loaded("lpips", net="squeeze")
    with torch.no_grad():
        expected = lpips.LPIPS(net="squeeze", verbose=False)(
            signed(images), signed(truths(examples))
        )
    rows = metric.measure(images, examples)
    torch.testing.assert_close(rows[:, 0].float(), expected.flatten(), rtol=1e-4, atol=1e-6)
    assert float(metric.measure(truths(examples), examples).abs().max()) == pytest.approx(
        0, abs=1e-6
    )
    assert f"{name} sha256" in metric.convention()
    assert_batches_agree(metric, images, examples)


@pytest.mark.filterwarnings("ignore:.*pretrained:UserWarning")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
@pytest.mark.parametrize(("net", "least"), [("alex", 31), ("vgg", 16), ("squeeze", 17)])
def test_an_image_too_small_for_the_network_is_named(net, least):
    """The network itself, of which only the shapes are computed, takes nothing below it."""
    import lpips

    with torch.device("meta"):
        network = lpips.LPIPS(net=net, pnet_rand=True, pretrained=False, verbose=False).to("meta")
        network(*torch.zeros(2, 1, 3, least, 64))
        with pytest.raises(RuntimeError, match="too small"):
            network(*torch.zeros(2, 1, 3, least - 1, 64))
    metric = build("metrics", "lpips", {"net": net})
    metric.check(pair(0, n=1, size=least)[1][0])
    with pytest.raises(UserError, match=rf"{net} needs sides of {least} pixels, and example 'e0'"):
        metric.check(pair(0, n=1, size=least - 1)[1][0])
