"""Arrays and pictures edited in memory, on the small random model."""

import numpy as np
import pytest
from PIL import Image

import sde_edit as se
from tests.builders import picture

PHOTO = np.asarray(picture(64, 64))
MASK = np.zeros((64, 64), np.float32)
MASK[:, :32] = 1


@pytest.fixture
def quick(tiny_model, own_cache):
    return ("steps=2", f"model.path={tiny_model}", "task.guidance=1")


def test_arrays_and_pictures_give_the_same(quick):
    given = {"prompt": "a b", "model": "shapes"}
    made = se.edit(PHOTO, *quick, mask=MASK, **given)
    assert (made.size, made.mode) == ((64, 64), "RGB")
    for mask in (MASK > 0, (MASK * 255).astype(np.uint8), Image.fromarray(MASK > 0)):
        again = se.edit(Image.fromarray(PHOTO), *quick, mask=mask, **given)
        assert again.tobytes() == made.tobytes()


def test_seeds_give_pictures_in_order(quick):
    given = {"prompt": "a b", "model": "shapes", "mask": MASK}
    two = se.edit(PHOTO, *quick, seed=[3, 1], **given)
    assert len(two) == 2
    assert two[1].tobytes() == se.edit(PHOTO, *quick, seed=1, **given).tobytes()
    assert two[0].tobytes() != two[1].tobytes()


def test_the_sampler_and_the_overrides_have_an_effect(quick):
    given = {"prompt": "a b", "model": "shapes", "mask": MASK}
    made = se.edit(PHOTO, *quick, **given).tobytes()
    assert se.edit(PHOTO, *quick, sampler="ode", **given).tobytes() != made
    assert se.edit(PHOTO, *quick, "steps=3", **given).tobytes() != made


def test_what_is_given_says_which_edit_it_is(quick, monkeypatch):
    asked = []

    def stop(photo, *, overrides, **options):
        asked.append([text for text in overrides if text.startswith("task")])
        raise se.UserError("stop")

    monkeypatch.setattr("sde_edit.python.pictures.edit_picture", stop)
    for given in (
        {"mask": MASK},
        {"source": "c"},
        {"source": "c", "mask": MASK},
        {"drags": [((1, 2), (3, 4))], "mask": MASK},
    ):
        with pytest.raises(se.UserError, match="stop"):
            se.edit(PHOTO, prompt="a", **given)
    with pytest.raises(se.UserError, match="stop"):
        se.edit(PHOTO, "task=p2p", prompt="a")
    assert asked == [
        ["task=inpaint"],
        ["task=diffedit"],
        ["task=diffedit"],
        ["task=drag"],
        ["task=p2p"],
    ]


@pytest.mark.parametrize(
    ("image", "given", "said"),
    [
        (PHOTO / 255.0, {"mask": MASK}, r"image is float64 \[64, 64, 3\]"),
        (PHOTO[..., 0], {"mask": MASK}, r"image is uint8 \[64, 64\]"),
        (PHOTO, {"mask": PHOTO}, r"mask is uint8 \[64, 64, 3\]"),
        (PHOTO, {"mask": MASK * 2}, r"mask is float32 \[64, 64\]"),
        (PHOTO, {"mask": MASK[:32]}, "they must be of one size"),
        (PHOTO, {}, "what of the picture is to change"),
        (PHOTO, {"source": "a", "drags": [((1, 2), (3, 4))]}, "two edits"),
        (PHOTO, {"mask": MASK, "seed": []}, "give a seed"),
        (PHOTO, {"mask": MASK, "sampler": "ode,sde"}, "one value each"),
        (PHOTO, {"drags": [((1, 2), (300, 4))]}, "the point 300,4 is outside"),
    ],
)
def test_what_cannot_be_edited_is_refused(quick, image, given, said):
    with pytest.raises(se.UserError, match=said):
        se.edit(image, *quick, prompt="a b", model="shapes", **given)


def test_a_picture_of_any_shape_keeps_it_and_its_pixels_outside_the_mask(quick):
    wide = np.asarray(picture(120, 80))
    mask = np.zeros((80, 120), bool)
    mask[20:50, 30:90] = True
    made = np.asarray(se.edit(wide, *quick, prompt="a b", model="shapes", mask=mask))
    assert made.shape == wide.shape
    assert (made[~mask] == wide[~mask]).all()
    assert (made[mask] != wide[mask]).any()
