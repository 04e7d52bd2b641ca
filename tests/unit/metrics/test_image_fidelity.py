"""Image fidelity, against LPIPS."""

import numpy as np
import pytest
import torch

from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, loaded, pair


@pytest.mark.filterwarnings("ignore:.*pretrained:UserWarning")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
def test_fidelity_is_1_minus_lpips_to_the_source(hub):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = squeezenet1_1()
    url = SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    torch.save(backbone.state_dict(), hub / url.rsplit("/", 1)[1])
    outputs, examples = pair(5, n=2, size=40)
    fidelity = loaded("image_fidelity", net="squeeze")
    distance = loaded("lpips", net="squeeze", against="source")
    rows = fidelity.measure(outputs, examples)
    assert torch.equal(rows, 1 - distance.measure(outputs, examples))
    sources = torch.from_numpy(np.stack([example.image for example in examples]))
    torch.testing.assert_close(
        fidelity.measure(sources, examples), torch.ones(2, 1).double(), rtol=0, atol=1e-6
    )
    assert distance.convention() in fidelity.convention()
    assert_batches_agree(fidelity, outputs, examples)


def test_it_refuses_what_lpips_refuses():
    fidelity = build("metrics", "image_fidelity", {})
    with pytest.raises(UserError, match="net=alex needs sides of 31 pixels"):
        fidelity.check(pair(0, n=1)[1][0])
