"""The procedural world behind the embedded model: index -> scene -> image, caption, masks.

A scene is a handful of numbers, so the result of a perfect edit can be rendered: the hidden region
of an inpainting, the recoloured object, the moved object. A scene depends only on its index; it is
drawn with `random.Random.random`, whose stream Python guarantees across versions.

Coordinates are pixels, x to the right and y down, the origin at the top-left corner of the image;
angles are radians. Images are uint8 [H, W, 3].
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.citation import Citation
from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.imaging.masks import MaskSize, draw_mask

if TYPE_CHECKING:
    from sde_edit.api.example import Mask

WORLD_VERSION = 1
IMAGE_SIZE = 64
# Images, and masks, that are kept: a run reads each of its examples to check, edit, show and score
# it, and drawing one takes milliseconds. At most 24 MB and 32 MB.
_KEPT = 2048
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {
    "red": (214, 40, 40),
    "orange": (244, 134, 24),
    "yellow": (246, 220, 50),
    "green": (40, 156, 64),
    "cyan": (54, 200, 214),
    "blue": (44, 78, 214),
    "purple": (132, 52, 184),
    "pink": (246, 112, 180),
}

BACKGROUNDS = {
    "white": (222, 222, 220),
    "grey": (122, 122, 124),
    "black": (36, 36, 40),
    "brown": (112, 78, 50),
    "green": (158, 198, 148),
    "blue": (146, 176, 216),
    "pink": (232, 184, 196),
    "yellow": (232, 218, 158),
}

# What no network of the embedded model was trained on; `make_scene` draws none of it.
NEW_SHAPES = ("crescent", "arrow")
NEW_COLOURS = {
    "maroon": (120, 16, 48),
    "lime": (170, 240, 60),
    "olive": (96, 130, 20),
    "navy": (20, 24, 110),
    "magenta": (230, 20, 160),
}
# What captions call it: the known shape most like it, the known colour nearest to it in RGB.
CALLED = {
    **{"crescent": "circle", "arrow": "triangle"},
    **{"maroon": "red", "lime": "yellow", "olive": "green", "navy": "blue", "magenta": "pink"},
}
_RGB = COLOURS | NEW_COLOURS
_STRIPES = 9.0, 0.25  # wavelength in pixels, relative change of brightness

Split = Literal["train", "val", "test"]

SPLITS: dict[Split, range] = {
    "train": range(0, 1_000_000),
    "val": range(1_000_000, 1_100_000),
    "test": range(1_100_000, 1_200_000),
}

Pixels = NDArray[np.uint8]
_Field = NDArray[np.float64]


def _regular(n: int, radius: float) -> _Field:
    """Vertices [n, 2] of a regular polygon whose first vertex points up."""
    angles = -math.pi / 2 + 2 * math.pi * np.arange(n) / n
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _star(outer: float, inner: float) -> _Field:
    points = np.empty((10, 2))
    points[0::2] = _regular(5, outer)
    points[1::2] = -_regular(5, inner)[[3, 4, 0, 1, 2]]
    return points


def _cross(arm: float, half_width: float) -> _Field:
    a, w = arm, half_width
    return np.array(
        [(-w, -a), (w, -a), (w, -w), (a, -w), (a, w), (w, w),
         (w, a), (-w, a), (-w, w), (-a, w), (-a, -w), (-w, -w)]
    )  # fmt: skip


# Outlines for a unit radius, sized so that all shapes look about equally large.
_POLYGONS = {
    "square": np.array([(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)]),
    "triangle": _regular(3, 1.12),
    "star": _star(1.15, 0.52),
    "cross": _cross(0.98, 0.34),
    "arrow": np.array(
        [(0.0, -1.1), (0.95, 0.0), (0.4, 0.0), (0.4, 1.0), (-0.4, 1.0), (-0.4, 0.0), (-0.95, 0.0)]
    ),
}


def _polygon_distance(p: _Field, vertices: _Field) -> _Field:
    """Signed distance of points `p` [H, W, 2] to a polygon [n, 2]; negative inside."""
    squared = np.full(p.shape[:2], np.inf)
    inside = np.zeros(p.shape[:2], dtype=bool)
    for a, b in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        edge, offset = b - a, p - a
        along = np.clip((offset @ edge) / (edge @ edge), 0.0, 1.0)
        squared = np.minimum(squared, np.sum((offset - along[..., None] * edge) ** 2, axis=-1))
        crosses = (a[1] > p[..., 1]) != (b[1] > p[..., 1])
        dy = b[1] - a[1] if b[1] != a[1] else 1.0
        inside ^= crosses & (p[..., 0] < a[0] + (p[..., 1] - a[1]) / dy * edge[0])
    signed: _Field = np.where(inside, -1.0, 1.0) * np.sqrt(squared)
    return signed


def _distance(shape: str, p: _Field) -> _Field:
    """Signed distance to a shape of unit radius; negative inside."""
    if shape == "circle":
        return np.hypot(p[..., 0], p[..., 1]) - 0.92
    if shape == "ring":
        return np.abs(np.hypot(p[..., 0], p[..., 1]) - 0.75) - 0.24
    if shape == "crescent":  # a disc without another
        outer, inner = np.hypot(p[..., 0], p[..., 1]) - 1, np.hypot(p[..., 0] - 0.5, p[..., 1])
        crescent: _Field = np.maximum(outer, 0.82 - inner)
        return crescent
    return _polygon_distance(p, _POLYGONS[shape])


@dataclass(frozen=True)
class Thing:
    """One coloured shape: centre (x, y) and radius in pixels, rotation `angle` in radians."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float

    def phrase(self, colour: bool = True) -> str:
        """What a caption calls it, in words that the embedded model knows."""
        words = CALLED.get(self.shape, self.shape)
        if colour:
            words = f"{CALLED.get(self.colour, self.colour)} {words}"
        return f"an {words}" if words[0] in "aeiou" else f"a {words}"


@dataclass(frozen=True)
class Scene:
    """Objects on a shaded background; later objects are in front of earlier ones.

    `light` is the direction (radians) towards which background and things get brighter;
    `contrast` is the relative change of the background's brightness from centre to edge.
    `stripes` is the direction (radians) across the stripes of a background that has some.
    """

    things: tuple[Thing, ...]
    background: str
    light: float
    contrast: float
    stripes: float | None = None

    def caption(self, *, colours: bool = True, background: bool = True) -> str:
        """A full caption, or one without the colours or the background."""
        text = " and ".join(thing.phrase(colours) for thing in self.things)
        return f"{text} on {self.background} background" if background else text

    def coverage(self, size: int = IMAGE_SIZE) -> NDArray[np.float64]:
        """Share of each pixel that each object alone would cover, anti-aliased: [N, H, W]."""
        scale = size / IMAGE_SIZE
        p = _pixels(size) / scale
        layers = [np.zeros((0, size, size))]
        for thing in self.things:
            cos, sin = math.cos(thing.angle), math.sin(thing.angle)
            local = (p - (thing.x, thing.y)) @ np.array([(cos, -sin), (sin, cos)])
            distance = thing.radius * _distance(thing.shape, local / thing.radius)
            layers.append(np.clip(0.5 - scale * distance, 0.0, 1.0)[None])
        return np.concatenate(layers)

    def masks(self, size: int = IMAGE_SIZE) -> NDArray[np.bool_]:
        """Visible pixels of each object, without occluded parts: bool [N, H, W]."""
        solid = self.coverage(size) > 0.5
        hidden = np.cumsum(solid[::-1], axis=0)[::-1] - solid > 0
        visible: NDArray[np.bool_] = np.logical_and(solid, np.logical_not(hidden))
        return visible

    def render(self, size: int = IMAGE_SIZE) -> Pixels:
        """The scene as uint8 [size, size, 3]."""
        return _native(self).copy() if size == IMAGE_SIZE else self._drawn(size)

    def _drawn(self, size: int) -> Pixels:
        scale = size / IMAGE_SIZE
        p = _pixels(size) / scale
        light = np.array([math.cos(self.light), math.sin(self.light)])
        ramp = (p - IMAGE_SIZE / 2) @ light / (IMAGE_SIZE / 2)
        image = np.array(BACKGROUNDS[self.background]) * (1 + self.contrast * ramp)[..., None]
        if self.stripes is not None:
            image *= _striped(p, self.stripes)[..., None]
        for thing, cover in zip(self.things, self.coverage(size), strict=True):
            shade = 1 + 0.22 * ((p - (thing.x, thing.y)) @ light / thing.radius)
            colour = np.array(_RGB[thing.colour]) * shade[..., None]
            image += cover[..., None] * (colour - image)
        rounded: Pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return rounded

    def with_thing(self, i: int, **changes: str | float) -> Scene:
        """The scene with object `i` changed, which is the truth of an edit."""
        things = list(self.things)
        things[i] = replace(things[i], **changes)  # type: ignore[arg-type]
        return replace(self, things=tuple(things))


@lru_cache(maxsize=_KEPT)
def _native(scene: Scene) -> Pixels:
    return scene._drawn(IMAGE_SIZE)


@lru_cache(maxsize=_KEPT)
def _mask(masks: MaskSize, key: str) -> Mask:
    return draw_mask(masks, key, height=IMAGE_SIZE, width=IMAGE_SIZE)


def _pixels(size: int) -> NDArray[np.float64]:
    """Pixel centres [size, size, 2] as (x, y)."""
    axis = np.arange(size) + 0.5
    return np.stack(np.meshgrid(axis, axis, indexing="xy"), axis=-1)


def _striped(p: _Field, direction: float) -> _Field:
    """The factor on the brightness at points `p` [H, W, 2]."""
    wavelength, amplitude = _STRIPES
    along = p @ np.array([math.cos(direction), math.sin(direction)])
    factor: _Field = 1 + amplitude * np.sin(2 * math.pi * along / wavelength)
    return factor


_RADII = {1: (10.0, 18.0), 2: (9.0, 14.0), 3: (7.5, 10.5), 4: (6.5, 9.0)}
MOST_THINGS = max(_RADII)


def make_scene(index: int, *, things_in_it: Literal[1, 2] | None = None) -> Scene:
    """The scene of an index; see SPLITS for which indices belong to which split.

    things_in_it: the number of objects. If the scene of the index has another number, its objects
    are drawn again under the same background and light.
    """
    rng = random.Random(f"shapes-{WORLD_VERSION}-{index}")
    background = pick(rng, list(BACKGROUNDS))
    light, contrast = uniform(rng, -math.pi, math.pi), uniform(rng, 0.06, 0.26)
    drawn = 1 if rng.random() < 0.5 else 2
    things = draw_things(rng, things_in_it or drawn, background)
    return Scene(things, background, light, contrast)


def draw_things(rng: random.Random, n: int, background: str) -> tuple[Thing, ...]:
    """From 1 to MOST_THINGS objects of different colours; the more, the smaller."""
    things: list[Thing] = []
    while len(things) < n:
        thing = draw_thing(rng, _RADII[n], {background, *(thing.colour for thing in things)})
        # The object in front may hide a part of the other, but never most of it.
        if all(
            math.hypot(thing.x - other.x, thing.y - other.y) > 0.8 * (thing.radius + other.radius)
            for other in things
        ):
            things.append(thing)
    return tuple(things)


def draw_thing(rng: random.Random, radii: tuple[float, float], taken: Collection[str]) -> Thing:
    """An object within the image, of a radius between these and of no colour that is taken."""
    radius = uniform(rng, *radii)
    return Thing(
        shape=pick(rng, SHAPES),
        colour=pick(rng, [colour for colour in COLOURS if colour not in taken]),
        x=uniform(rng, radius + 1, IMAGE_SIZE - radius - 1),
        y=uniform(rng, radius + 1, IMAGE_SIZE - radius - 1),
        radius=radius,
        angle=uniform(rng, -math.pi, math.pi),
    )


def uniform(rng: random.Random, low: float, high: float) -> float:
    """A number from [low, high)."""
    return low + (high - low) * rng.random()


def pick(rng: random.Random, options: Sequence[str]) -> str:
    """One of the options, each as likely as another."""
    return options[int(rng.random() * len(options))]


def scene_of(split: Split, i: int) -> Scene:
    """Scene number `i` of a split. Raises IndexError outside the split."""
    return make_scene(SPLITS[split][i])


@dataclass(frozen=True)
class FirstScenes:
    """Base of the data sets of this world: the first `n` scenes of a split.

    The scene of an id depends only on its index, not on n.
    """

    citation: ClassVar[Citation | None] = None

    split: Split = "test"
    n: int = field(default=256, metadata={"identity": False})

    def __post_init__(self) -> None:
        if not 0 < self.n <= len(SPLITS[self.split]):
            limit = len(SPLITS[self.split])
            raise UserError(f"data.n={self.n}: split {self.split!r} has 1 to {limit} examples")

    def ids(self) -> Sequence[str]:
        return [self._id(i) for i in range(self.n)]

    def to_fill(self, example_id: str, scene: Scene, masks: MaskSize) -> Example:
        """An example whose image is the truth, with the mask of its index."""
        image, key = scene.render(), str(self.index(example_id))
        return Example(
            id=example_id,
            image=image,
            caption=scene.caption(),
            mask=_mask(masks, key).copy(),
            truth=image.copy(),
        )

    def index(self, example_id: str) -> int:
        """The index for `make_scene`. Raises UserError for an unknown id."""
        digits = example_id.removeprefix(f"{self.split}-")
        if digits.isdecimal() and int(digits) < self.n and self._id(int(digits)) == example_id:
            return SPLITS[self.split][int(digits)]
        raise UserError(
            f"no example {example_id!r}: ids are {self._id(0)} to {self._id(self.n - 1)}"
        )

    def status(self) -> DataStatus:
        return DataStatus(found=self.n, notes=["drawn on the fly; nothing to fetch"])

    def _id(self, i: int) -> str:
        return f"{self.split}-{i:06d}"
