"""A small benchmark, made once."""

import json
from contextlib import contextmanager

import pytest

from sde_edit.bench.measure import bench
from sde_edit.bench.result import as_json
from sde_edit.config import experiment

STEPS, IMAGES = 2, 3


@pytest.fixture(scope="session")
def make(tiny_model, tmp_path_factory):
    """Composes an experiment on the tiny model; one that is timed needs results of its own."""
    of_all = tmp_path_factory.mktemp("results")

    def compose(*overrides, results=of_all):
        return experiment(
            (
                *("model=shapes", f"model.path={tiny_model}", f"paths.results={results}"),
                *(f"steps={STEPS}", "hardware.device=cpu", "hardware.batch_size=2", *overrides),
            )
        )

    return compose


@contextmanager
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sde_edit.bench.scoring.IMAGES", 20)
        patch.setattr("sde_edit.bench.network.NETWORK_SECONDS", 0.01)
        patch.setattr("sde_edit.bench.network.MATMUL_SECONDS", 0.01)
        patch.setattr("sde_edit.bench.network.MATMUL_SIZES", {"cpu": (64, 128)})
        yield


@pytest.fixture(autouse=True)
def quick():
    """The bare network is timed for hundredths of a second."""
    with _quick():
        yield


@pytest.fixture(scope="session")
def measured(make):
    with _quick():
        return bench(make("sampler=sde2"), images=IMAGES, repeats=2)


@pytest.fixture(scope="session")
def record(measured):
    """The benchmark as it is stored."""
    return json.loads(json.dumps(as_json(measured), allow_nan=False))
