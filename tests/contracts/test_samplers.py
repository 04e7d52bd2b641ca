"""The contract of samplers, which are found through the registry: a new file needs no edit here."""

import pytest

from sde_edit.api.sampler import Sampler
from sde_edit.contracts.samplers import CHECKS, IDS, eps, grid, start
from sde_edit.registry import build, kinds, plugin_class

# `external` stands in a sampler's place and computes nothing.
KINDS = [k for k in sorted(kinds("samplers")) if issubclass(plugin_class("samplers", k), Sampler)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_keeps_to(kind, check):
    check(build("samplers", kind, {}))


@pytest.mark.parametrize("kind", KINDS)
def test_evaluates_as_often_as_it_says(kind):
    """PLMS needs one evaluation more, at the start; Rex and coupled BDIA one less, at the end."""
    calls = []

    def counted(x, t):
        calls.append(len(x))
        return eps(x, t)

    sampler, (x, noise) = build("samplers", kind, {}), start(IDS)
    sampler.decode(counted, x, grid(), noise)
    said = sampler.evaluations_per_step * grid().steps * len(IDS)
    more = {"plms": 1, "cbdia": -1, "rex": -1}
    assert sum(calls) == said + more.get(kind, 0) * len(IDS)


def test_all_cite_a_paper_and_one_key_is_one_paper():
    cited = [plugin_class("samplers", k).citation for k in KINDS]
    assert [k for k, citation in zip(KINDS, cited, strict=True) if citation is None] == ["none"]
    papers = {citation for citation in cited if citation}
    assert len({citation.key for citation in papers}) == len(papers)
