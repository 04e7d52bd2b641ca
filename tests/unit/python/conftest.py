"""Runs on the Gaussian mixture, which take no time."""

import pytest

import sde_edit as se

GMM = ("model=gmm", "model.shape=[3,64,64]", 'task.prompt=""', "task.guidance=1", "metrics=[psnr]")


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="session")
def pair(results):
    """ODE and SDE on five examples."""
    given = ("task=inpaint", "sampler=ode,sde", "steps=3", *GMM)
    return se.run(*given, limit=5, results=results)
