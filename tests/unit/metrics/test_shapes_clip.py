"""The agreement of image and caption by the embedded recogniser."""

import pytest
import torch
import torch.nn.functional as F

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from tests.unit.metrics.inputs import loaded, signed


def test_shapes_clip_is_a_cosine_that_depends_on_the_caption(recogniser, images, examples):
    metric = loaded("shapes_clip")
    rows = metric.measure(images, examples)
    ids = metric._tokens([example.caption for example in examples])
    with torch.no_grad():
        text = recogniser.text(ids).text_embeds
        image = recogniser.image_projection(
            recogniser.image_features(signed(images))[-1].mean((2, 3))
        )
    torch.testing.assert_close(
        rows[:, 0].float(), F.cosine_similarity(image, text), rtol=1e-4, atol=1e-5
    )
    assert len(set(ids[:, 1:].sum(1).tolist())) > 1


def test_a_caption_is_needed(recogniser, images):
    silent = Example("silent", images[0].numpy())
    with pytest.raises(UserError, match="'silent' has no caption"):
        loaded("shapes_clip").check(silent)
