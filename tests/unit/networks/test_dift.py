"""Features of the UNet and the correspondences found with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.diffusion.noise import Noise
from sde_edit.networks.dift import Layer, corresponding, unet_features
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from tests.unit.metrics.inputs import batch


def test_the_place_of_the_largest_cosine_is_found() -> None:
    """Also where the vectors are scaled, and over more channels than are resized at once."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(150, 6, 8, generator=generator)
    other = source.roll((2, -3), dims=(1, 2)) * torch.rand(6, 8, generator=generator).add(0.5)
    assert corresponding(source, other, [(5.9, 1.2), (3, 0)], (6, 8)) == [(2, 3), (0, 2)]


def test_maps_are_resized_as_a_whole_would_be() -> None:
    generator = torch.Generator().manual_seed(1)
    source, other = torch.randn(2, 130, 4, 5, generator=generator)
    size = (16, 20)
    a, b = (F.interpolate(x[None], size, mode="bilinear")[0] for x in (source, other))
    cosines = F.cosine_similarity(a[:, 7, 11][:, None, None], b, dim=0)
    y, x = divmod(int(cosines.argmax()), size[1])
    assert corresponding(source, other, [(11, 7)], size) == [(x, y)]


def _tiny(tiny_model: Any) -> LoadedStableDiffusion:
    return LoadedStableDiffusion(tiny_model, 64, torch.device("cpu"), torch.float32)


def test_features_are_those_of_the_block_and_not_of_the_batch(tiny_model: Any) -> None:
    model = _tiny(tiny_model)
    images = batch(*(ShapesDrags(n=2).load(i).image for i in ("test-000000", "test-000001")))
    layer, noise = Layer(t=261, block=0, ensemble=2), Noise(0, ("a", "b"))
    found = unet_features(model, images, ["x", "y"], noise, layer)
    x_0, alpha = model.encode(images[1:]), model.alpha_T[261].float()
    maps: list[Tensor] = []
    model.unet.up_blocks[0].register_forward_hook(lambda _m, _given, out: maps.append(out))
    with torch.inference_mode():
        for draw in range(2):
            eps = Noise(0, ("b",)).like(x_0, "correspondence", draw)
            x_t = alpha.sqrt() * x_0 + (1 - alpha).sqrt() * eps
            model.unet(x_t, 261, model.embed(["y"]))
    torch.testing.assert_close(found[1:], (maps[0] + maps[1]) / 2, rtol=1e-4, atol=1e-5)


def test_cells_keep_their_pixels_where_the_image_ends_within_them() -> None:
    """Three rows of cells of four pixels lie over ten rows: no cell is squeezed."""
    generator = torch.Generator().manual_seed(2)
    source, other = torch.randn(2, 130, 3, 4, generator=generator)
    a, b = (F.interpolate(x[None], (12, 16), mode="bilinear")[0, :, :10] for x in (source, other))
    cosines = F.cosine_similarity(a[:, 9, 11][:, None, None], b, dim=0)
    y, x = divmod(int(cosines.argmax()), 16)
    assert corresponding(source, other, [(11, 9)], (10, 16)) == [(x, y)]


def test_borders_are_repeated_to_whole_cells(tiny_model: Any) -> None:
    model = _tiny(tiny_model)
    image = ShapesDrags(n=1).load("test-000000").image
    part, layer, noise = image[:43, :61], Layer(t=261, block=0, ensemble=1), Noise(0, ("a",))
    whole = np.pad(part, ((0, 5), (0, 3), (0, 0)), mode="edge")
    found, same = (unet_features(model, batch(x), ["x"], noise, layer) for x in (part, whole))
    assert torch.equal(found, same)
