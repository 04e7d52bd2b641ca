"""Times between those of training."""

import torch

from sde_edit.networks.base import alpha_at


def test_alpha_between_train_times_is_log_linear():
    table = torch.tensor([0.9, 0.4, 0.1], dtype=torch.float64)
    alpha = alpha_at(table, torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)).flatten()
    torch.testing.assert_close(alpha, torch.tensor([0.9, 0.6, 0.1], dtype=torch.float64))
