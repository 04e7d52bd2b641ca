"""What is kept between runs."""

import pytest

from sde_edit.commands.run import run_all
from sde_edit.config import experiment
from sde_edit.engine.execute import ModelCache
from sde_edit.errors import NotFiniteError, UserError


def test_models_are_kept_between_runs(small):
    models = ModelCache()
    first = models.get(experiment(small), "cpu")
    assert models.get(experiment([*small, "steps=9"]), "cpu") is first
    assert models.get(experiment([*small, "dtype=float64"]), "cpu") is not first


class Broken(ModelCache):
    """Models whose second image of a batch is not finite."""

    def get(self, experiment, device):
        def decode(x):
            raise NotFiniteError("it gave NaN", [1])

        model = super().get(experiment, device)
        model.decode = decode
        return model


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (["dtype=float32", "task.guidance=1"], "use more steps or another sampler"),
        (["dtype=float32", "task.guidance=3"], "use a smaller task.guidance"),
        (
            ["dtype=float16", "task.guidance=3"],
            "use dtype=bfloat16 or dtype=float32, or a smaller task.guidance",
        ),
    ],
)
def test_images_that_are_not_finite_are_named_with_settings_of_their_run(small, settings, remedy):
    with pytest.raises(UserError, match=f"test-000001: it gave NaN: {remedy}$"):
        run_all([experiment([*small, *settings])], evaluate=False, models=Broken())
