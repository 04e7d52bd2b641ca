"""Every kind of model compiles: the same eps, and nothing anew for another number of rows."""

import pytest
import torch

from tests.contracts.test_models import GUIDANCE, WORDS, images, kind, settings, source, state

__all__ = ["kind", "settings", "source"]  # fixtures

WITHOUT_NETWORK = {"gmm"}
GRAPHS = {"adm": 2, "controlnet": 2}  # its classifier, and the control net


def eps(source, model, kind, pairs):
    """eps of that many pairs of examples, at times of their own."""
    given = images(source).repeat(pairs, 1, 1, 1)
    hints = {"hints_BHWC": given} if kind == "controlnet" else {}
    t = torch.linspace(20, 900, 2 * pairs).double()
    with torch.inference_mode():
        words, guidance = pairs * WORDS.get(kind, ("a b", "c")), GUIDANCE.get(kind, 3.0)
        predict = model.denoiser(words, guidance, **hints)
        return predict(state(model).repeat(pairs, 1, 1, 1), t)


def test_a_graph_of_each_network_serves_every_number_of_rows(kind, source, graphs):
    if kind in WITHOUT_NETWORK:
        pytest.skip("has no network")
    eager, compiled = (source.load("cpu", "float64", on) for on in (False, True))
    for pairs in (2, 1, 5):
        expected, found = (eps(source, model, kind, pairs) for model in (eager, compiled))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert graphs.frame_count == GRAPHS.get(kind, 1)
