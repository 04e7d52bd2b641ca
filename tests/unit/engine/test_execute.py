"""What is kept between runs."""

from sde_edit.config import experiment
from sde_edit.engine.execute import ModelCache


def test_models_are_kept_between_runs(small):
    models = ModelCache()
    first = models.get(experiment(small), "cpu")
    assert models.get(experiment([*small, "steps=9"]), "cpu") is first
    assert models.get(experiment([*small, "dtype=float64"]), "cpu") is not first
