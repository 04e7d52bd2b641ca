"""LPIPS, against its package."""

import pytest
import torch

from tests.unit.metrics.inputs import assert_batches_agree, loaded, signed, truths


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
