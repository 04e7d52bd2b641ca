"""The embedded recogniser as metrics use it."""

import pytest

from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, loaded, pair


@pytest.mark.parametrize("kind", ["shapes_perceptual", "shapes_clip", "attributes"])
def test_recogniser_metrics_do_not_depend_on_the_batch(recogniser, images, examples, kind):
    assert_batches_agree(loaded(kind), images, examples)


def test_convention_follows_the_recogniser_s_weights(recogniser):
    assert "model.safetensors sha256 " in build("metrics", "attributes", {}).convention()


def test_missing_recogniser_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr("sde_edit.evaluation.recognition.SHAPES_FOLDER", tmp_path)
    assert "not fetched" in build("metrics", "attributes", {}).convention()
    with pytest.raises(UserError, match=r"recogniser is not there.*train_shapes"):
        loaded("attributes")


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        *((kind, {}) for kind in ("shapes_perceptual", "shapes_similarity", "attributes")),
        ("shapes_clip", {}),
        ("frechet", {"extractor": "shapes"}),
    ],
)
def test_the_recogniser_refuses_what_is_no_scene(kind, params):
    _, (photograph, _) = pair(0, n=2, size=72)
    with pytest.raises(UserError, match=r"scenes of 64x64 pixels, and example 'e0' is 72x72: cho"):
        build("metrics", kind, params).check(photograph)
