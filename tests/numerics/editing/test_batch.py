"""Batches of examples as tensors."""

import torch

from sde_edit.editing.batch import to_latent_size


def test_latent_mask_hides_every_cell_that_any_hidden_pixel_touches():
    mask = torch.zeros(1, 64, 64)
    mask[0, 7, 8] = 0.01
    cells = to_latent_size(mask, (8, 8))
    assert cells.nonzero().tolist() == [[0, 0, 0, 1]]
    assert to_latent_size(torch.ones(2, 64, 64), (16, 16)).all()
