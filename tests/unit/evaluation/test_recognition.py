"""The embedded recogniser as metrics use it."""

import pytest
import torch

from sde_edit.errors import UserError
from sde_edit.evaluation import recognition
from sde_edit.evaluation.recognition import Recogniser
from sde_edit.networks.recogniser import ShapesCLIP
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


@pytest.fixture
def passes(monkeypatch):
    """The numbers of images in the passes through the network's image tower."""
    found, whole = [], ShapesCLIP.image_features

    def counted(self, x_BCHW):
        found.append(len(x_BCHW))
        return whole(self, x_BCHW)

    monkeypatch.setattr(ShapesCLIP, "image_features", counted)
    return found


def test_metrics_share_a_pass_over_the_outputs_and_one_over_the_references(
    recogniser, images, examples, passes
):
    recognition._loaded.cache_clear()
    for kind in ("attributes", "shapes_perceptual", "shapes_clip"):
        loaded(kind).measure(images, examples)
    loaded("frechet", extractor="shapes").measure(images, examples)
    assert passes == [len(images)] * 2


def test_what_is_kept_is_bounded_and_changes_no_number(recogniser, images, passes):
    one, other = images, images.flip(0)
    whole, short = Recogniser(recogniser), Recogniser(recogniser, capacity=0)
    with torch.inference_mode():
        wanted = [recogniser.embed_image(whole.maps(batch)) for batch in (one, other)]
        for batch, expected in ((one, wanted[0]), (other, wanted[1]), (one, wanted[0])):
            assert torch.equal(short.embed(batch), expected)
            assert torch.equal(whole.embed(batch), expected)
    assert len(passes) == 2 + 3
