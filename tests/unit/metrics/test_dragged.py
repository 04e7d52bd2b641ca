"""Drags of the embedded world, and the scores of dragging on pictures whose outcome is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sde_edit.api.example import Drag, Example
from sde_edit.api.metric import NamedMetric
from sde_edit.api.spec import ComponentSpec
from sde_edit.datasets.shapes_drags import DISTANCES, ShapesDrags
from sde_edit.diffusion.noise import Noise
from sde_edit.errors import UserError
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.imaging.shapes_world import SPLITS, Scene
from sde_edit.networks.dift import Layer, corresponding, unet_features
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from sde_edit.registry import build

N = 60


def batch(*images: Any) -> Tensor:
    return torch.from_numpy(np.stack(images))


def moved(before: Scene, after: Scene) -> int:
    (i,) = [i for i, (a, b) in enumerate(zip(before.things, after.things, strict=True)) if a != b]
    return i


# ------------------------------------------------------------------ shapes-drags


@pytest.mark.parametrize("split", SPLITS)
def test_one_thing_is_to_move_and_touches_nothing(split: Any) -> None:
    data = ShapesDrags(split=split, n=N)
    for example_id in data.ids():
        before, after = data.scenes(example_id)
        i = moved(before, after)
        old, new = before.things[i], after.things[i]
        assert before.with_thing(i, x=new.x, y=new.y) == after
        assert DISTANCES[0] <= math.hypot(new.x - old.x, new.y - old.y) <= DISTANCES[1]
        assert new.radius < min(new.x, new.y, 64 - new.x, 64 - new.y)
        assert (before.coverage() > 0).sum(0).max() == (after.coverage() > 0).sum(0).max() == 1


def test_an_example_is_the_scene_and_the_truth() -> None:
    data = ShapesDrags(n=N)
    for example_id in data.ids()[:12]:
        example, (before, after) = data.load(example_id), data.scenes(example_id)
        thing = before.things[moved(before, after)]
        (drag,) = example.drags
        assert drag.source == (thing.x, thing.y)
        assert example.caption == before.caption() == after.caption()
        assert example.mask is None
        dx, dy = (round(b - a) for a, b in zip(drag.source, drag.target, strict=True))
        inner = before.coverage()[moved(before, after)] == 1
        y, x = np.nonzero(inner)
        apart = example.truth[y + dy, x + dx].astype(int) - example.image[y, x]
        assert abs(apart).max() <= 1  # rounding


def test_two_things_and_all_distances_occur() -> None:
    scenes = [ShapesDrags(n=200).scenes(f"test-{i:06d}") for i in range(200)]
    assert 0.1 < np.mean([len(before.things) == 2 for before, _ in scenes]) < 0.35
    ends = [(a.things[moved(a, b)], b.things[moved(a, b)]) for a, b in scenes]
    found = [math.hypot(b.x - a.x, b.y - a.y) for a, b in ends]
    assert np.histogram(found, bins=4, range=DISTANCES)[0].min() > 15


def test_an_example_depends_on_its_id_alone() -> None:
    few, many = ShapesDrags(n=3), ShapesDrags(n=50_000)
    assert few.digest() == many.digest() != ShapesDrags(n=3, mask="changed").digest()
    assert all(few.scenes(i) == many.scenes(i) for i in few.ids())


def test_golden_drags() -> None:
    """Examples move only with a raised version, for published numbers rest on them."""
    data = ShapesDrags(n=3)
    found = []
    for example in map(data.load, data.ids()):
        (drag,) = example.drags
        step = tuple(round(b - a) for a, b in zip(drag.source, drag.target, strict=True))
        found.append((example.caption, step))
    assert found == GOLDEN


GOLDEN = [
    ("a red square and an orange ring on blue background", (6, -14)),
    ("a cyan square on black background", (6, -6)),
    ("a pink circle on grey background", (9, 3)),
]


def test_the_mask_holds_what_changes_and_more() -> None:
    example = ShapesDrags(n=1, mask="changed").load("test-000000")
    assert example.mask is not None
    differs = (example.image != example.truth).any(-1)
    assert (example.mask[differs] == 1).all()
    y, x = np.nonzero(differs)
    ys, xs = np.nonzero(example.mask)
    assert (ys.min(), xs.min()) == (max(0, y.min() - 4), max(0, x.min() - 4))
    assert (example.mask == 0).any()


# ------------------------------------------------------------------ outcomes that are rendered


def outcomes(data: ShapesDrags, example_id: str) -> dict[str, Any]:
    """What may come of a drag, as pictures."""
    before, after = data.scenes(example_id)
    i = moved(before, after)
    both = replace(before, things=(*before.things, after.things[i]))
    none = replace(before, things=tuple(t for j, t in enumerate(before.things) if j != i))
    images = {"unedited": before, "truth": after, "copied": both, "erased": none}
    return {name: scene.render() for name, scene in images.items()}


EXPECTED = {  # arrived, left behind
    "unedited": (0, 1),
    "truth": (1, 0),
    "copied": (1, 1),
    "erased": (0, 0),
}


@pytest.mark.parametrize("outcome", EXPECTED)
def test_arrived_and_left_behind_are_what_was_rendered(outcome: str) -> None:
    data = ShapesDrags(n=12)
    examples = [data.load(i) for i in data.ids()]
    assert any(len(data.scenes(i)[0].things) == 2 for i in data.ids())
    images = batch(*(outcomes(data, i)[outcome] for i in data.ids()))
    for place, expected in zip(("target", "source"), EXPECTED[outcome], strict=True):
        rows = build("metrics", "dragged", {"place": place}).measure(images, examples)
        assert rows.shape == (12, 1)
        assert (rows == expected).all()


def test_a_thing_that_came_a_fifth_of_the_way_has_not_arrived() -> None:
    data = ShapesDrags(n=12)
    images = []
    for before, after in map(data.scenes, data.ids()):
        i = moved(before, after)
        a, b = before.things[i], after.things[i]
        place = {"x": a.x + 0.2 * (b.x - a.x), "y": a.y + 0.2 * (b.y - a.y)}
        images.append(before.with_thing(i, **place).render())
    examples = [data.load(i) for i in data.ids()]
    metric = build("metrics", "dragged", {"place": "target"})
    assert not metric.measure(batch(*images), examples).any()


def test_an_example_in_which_nothing_moves_is_named() -> None:
    still = Example("still", np.full((16, 16, 3), 90, np.uint8))
    with pytest.raises(UserError, match="'still'"):
        build("metrics", "dragged", {"place": "target"}).measure(batch(still.image), [still])


def test_kept_error_counts_what_was_to_stay() -> None:
    image, truth = np.zeros((2, 4, 4, 3), np.uint8)
    truth[0] = 255
    output = truth.copy()
    output[0] = 7  # not counted
    output[1] = 51  # a fifth, in 4 of the 12 pixels that stay
    example = Example("e", image, truth=truth)
    metric = build("metrics", "kept_error", {})
    assert metric.measure(batch(output), [example]).item() == pytest.approx(0.04 / 3)
    assert metric.measure(batch(truth), [example]).item() == 0
    with pytest.raises(UserError, match="'all'"):
        metric.measure(batch(output), [Example("all", image, truth=truth | 1)])


# ------------------------------------------------------------------ correspondence


def test_the_place_of_the_largest_cosine_is_found() -> None:
    """Also where the vectors are scaled, and over more channels than are resized at once."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(150, 6, 8, generator=generator)
    other = source.roll((2, -3), dims=(1, 2)) * torch.rand(6, 8, generator=generator).add(0.5)
    assert corresponding(source, other, [(5.9, 1.2), (3, 0)], (6, 8)) == [(2, 3), (0, 2)]


def test_maps_are_resized_as_a_whole_would_be() -> None:
    generator = torch.Generator().manual_seed(1)
    source, other = torch.randn(2, 130, 4, 5, generator=generator)
    size = (16, 20)
    a, b = (F.interpolate(x[None], size, mode="bilinear")[0] for x in (source, other))
    cosines = F.cosine_similarity(a[:, 7, 11][:, None, None], b, dim=0)
    y, x = divmod(int(cosines.argmax()), size[1])
    assert corresponding(source, other, [(11, 7)], size) == [(x, y)]


def _tiny(tiny_model: Any) -> LoadedStableDiffusion:
    return LoadedStableDiffusion(tiny_model, 64, torch.device("cpu"), torch.float32)


def test_features_are_those_of_the_block_and_not_of_the_batch(tiny_model: Any) -> None:
    model = _tiny(tiny_model)
    images = batch(*(ShapesDrags(n=2).load(i).image for i in ("test-000000", "test-000001")))
    layer, noise = Layer(t=261, block=0, ensemble=2), Noise(0, ("a", "b"))
    found = unet_features(model, images, ["x", "y"], noise, layer)
    x_0, alpha = model.encode(images[1:]), model.alpha_T[261].float()
    maps: list[Tensor] = []
    model.unet.up_blocks[0].register_forward_hook(lambda _m, _given, out: maps.append(out))
    with torch.inference_mode():
        for draw in range(2):
            eps = Noise(0, ("b",)).like(x_0, "correspondence", draw)
            x_t = alpha.sqrt() * x_0 + (1 - alpha).sqrt() * eps
            model.unet(x_t, 261, model.embed(["y"]))
    torch.testing.assert_close(found[1:], (maps[0] + maps[1]) / 2, rtol=1e-4, atol=1e-5)


class Pixels(nn.Module):
    """Stands for DIFT: a pixel's features say its colour."""

    def describe(self) -> str:
        return "the colours of pixels"

    def __call__(self, images_BHWC: Tensor, prompts: Any, noise: Any) -> Tensor:
        x = images_BHWC.permute(0, 3, 1, 2).float() / 255
        return torch.cat([x, 1 - x], dim=1)


def test_drag_distance_is_the_mean_over_points_not_images() -> None:
    image = np.zeros((8, 10, 3), np.uint8)
    image[2, 1], image[5, 5] = (255, 0, 0), (0, 255, 0)
    output = np.zeros_like(image)
    output[2, 4], output[5, 5] = (255, 0, 0), (0, 255, 0)
    red, green = Drag((1.5, 2.5), (7.9, 6.1)), Drag((5, 5), (5, 7))
    metric = build("metrics", "drag_distance", {"path": "embedded:shapes"})
    metric.__dict__["_features"] = Pixels()
    examples = [Example("one", image, drags=(red,)), Example("two", image, drags=(red, green))]
    rows = metric.measure(batch(output, output), examples)
    assert rows.tolist() == [[5.0, 1.0], [7.0, 2.0]]  # (4, 2) to (7, 6), and (5, 5) to (5, 7)
    counts = torch.tensor([[1.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    assert metric.aggregate(rows, counts).tolist() == [4.0, 5.0]
    score = score_of(
        NamedMetric(ComponentSpec("d", "d", 1), metric),
        {"one": rows[0], "two": rows[1]},
        10,
        seal="",
    )
    assert score.value == 4.0
    assert score.per_example == {"one": 5.0, "two": 3.5}
    with pytest.raises(UserError, match="'none' has no drags"):
        metric.measure(batch(output), [Example("none", image)])


def test_drag_distance_refuses_layers_that_are_not_there(tiny_model: Any) -> None:
    for layer in ({"block": 2}, {"t": 1000}):
        with pytest.raises(UserError, match="times 0 to 999 and up blocks 0 to 1"):
            build("metrics", "drag_distance", {"path": str(tiny_model), **layer}).load("cpu")
    with pytest.raises(UserError, match="ensemble from 1"):
        build("metrics", "drag_distance", {"path": str(tiny_model), "ensemble": 0})


def test_drag_distance_names_its_setting_and_its_weights(tiny_model: Any, tmp_path: Any) -> None:
    assert (
        "weights not fetched"
        in build("metrics", "drag_distance", {"path": str(tmp_path)}).convention()
    )
    with pytest.raises(UserError, match=r"^path="):
        build("metrics", "drag_distance", {"path": str(tmp_path)}).fetch()
    known = build("metrics", "drag_distance", {"path": str(tiny_model)}).convention()
    assert "weights sha256 " in known


def test_the_embedded_network_finds_what_was_moved() -> None:
    data = ShapesDrags(n=4)
    examples = [data.load(i) for i in data.ids()]
    settings = {"path": "embedded:shapes", "ensemble": 1}
    metric = build("metrics", "drag_distance", settings)
    metric.load("cpu")
    truths = metric.measure(batch(*(e.truth for e in examples)), examples)[:, 0]
    same = metric.measure(batch(*(e.image for e in examples)), examples)[:, 0]
    lengths = [
        math.dist((int(d.source[0]), int(d.source[1])), (int(d.target[0]), int(d.target[1])))
        for e in examples
        for d in e.drags
    ]
    torch.testing.assert_close(same, torch.tensor(lengths, dtype=torch.float64))
    assert truths.max() < 4


# ------------------------------------------------------------------ similarity


def test_similarity_to_the_source_is_one_where_nothing_was_edited() -> None:
    data = ShapesDrags(n=2)
    examples = [data.load(i) for i in data.ids()]
    metric = build("metrics", "shapes_similarity", {})
    metric.load("cpu")
    same = metric.measure(batch(*(e.image for e in examples)), examples)
    other = metric.measure(batch(*(e.image for e in examples[::-1])), examples)
    torch.testing.assert_close(same, torch.ones_like(same), rtol=1e-5, atol=1e-5)
    assert (other < 0.9).all()
