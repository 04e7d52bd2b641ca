"""Contact sheets: labelled columns of images, one row per example. The same input gives the same
bytes; needs no torch.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError, shortened
from sde_edit.imaging.files import png_bytes, read_output
from sde_edit.imaging.fit import pixels_per_cell
from sde_edit.imaging.marks import draw_arrow, enlarged
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import Run

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_ACROSS = 8  # columns of a part of a sheet
_GAP = 12  # pixels between images and around the sheet
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (90, 90, 90)
_CHECKS = (96, 160)  # grey levels of the hidden region
_BESIDE = (228, 228, 228)  # what a smaller image leaves of its cell
_COMFORTABLE_SIDE = 192
_CUT = "[cut]"  # below an example whose prompt was not read to its end
_TEXT = 300  # characters of an id, a caption or a target, which may be of any length


def contact_sheet(
    columns: Mapping[str, Sequence[Pixels]],
    *,
    captions: Sequence[str] | None = None,
    drags: Sequence[Sequence[Drag]] = (),
    title: str = "",
    foot: str = "",
    scale: int | None = None,
) -> Image.Image:
    """Columns of uint8 images [H, W, 3] under their headings, with a title above.

    All cells are as wide as the widest image and as high as the highest; the others stand in their
    middles, undistorted and in the same scale.

    More than eight columns are cut into parts below each other, of as equal widths as possible.
    captions: one below each row. drags: for each row, the arrows drawn in its first image.
    foot: a line below all rows.
    scale: integer enlargement by nearest neighbour, which keeps the pixels as they are; None makes
    cells about 192 pixels wide. Raises ValueError without images, and if columns differ in length,
    or captions or drags in number.
    """
    rows = _checked(columns, captions, drags)
    height, width = np.max([image.shape[:2] for images in rows for image in images], axis=0)
    factor = scale or max(1, round(_COMFORTABLE_SIDE / int(width)))
    cell = (int(width) * factor, int(height) * factor)
    fonts = heading, small = _fonts(cell[0])
    shown = [[enlarged(image, factor) for image in images] for images in rows]
    for images, arrows in zip(shown, drags, strict=False):
        for drag in arrows:
            draw_arrow(images[0], drag, factor)
    parts = []
    for part in _parts(len(columns)):
        cut = [images[part] for images in shown]
        parts += _columns(list(columns)[part], cut, captions, fonts, cell)
    across = parts[0].width
    above = [_title(title, across, heading)] if title else []
    below = [_caption(foot, across, small)] if foot else []
    return stacked([*above, *parts, *below])


def _parts(columns: int) -> list[slice]:
    """The columns of each part of a sheet."""
    size = math.ceil(columns / math.ceil(columns / _ACROSS))
    return [slice(first, first + size) for first in range(0, columns, size)]


def _columns(
    names: Sequence[str],
    rows: Sequence[Sequence[Image.Image]],
    captions: Sequence[str] | None,
    fonts: tuple[Font, Font],
    cell: tuple[int, int],
) -> list[Image.Image]:
    """The headings, and each row with its caption."""
    heading, small = fonts
    parts = [_headings(names, cell[0], heading)]
    for i, images in enumerate(rows):
        parts.append(_strip(images, cell))
        if captions is not None:
            parts.append(_caption(captions[i], parts[0].width, small))
    return parts


def runs_sheet(
    runs: Mapping[str, Run], dataset: Dataset, *, hidden: bool, rows: int = 6, title: str = ""
) -> Image.Image:
    """Columns: original, truth of an edit or masked image, masks found, each run under its label.

    hidden: whether to show the image under its mask. Arrows in the original show the drags. The
    rows are the first `rows` examples of the data set that all runs have. Raises UserError if the
    runs have no example in common.
    """
    made = [run.rows() for run in runs.values()]
    common = [i for i in dataset.ids() if all(i in found for found in made)][:rows]
    if not common:
        raise UserError(f"no example was edited by all of {', '.join(r.id for r in runs.values())}")
    return examples_sheet(runs, dataset, common, hidden=hidden, title=title)


def examples_sheet(
    runs: Mapping[str, Run],
    dataset: Dataset,
    ids: Sequence[str],
    *,
    hidden: bool,
    comments: Sequence[str] | None = None,
    title: str = "",
) -> Image.Image:
    """As `runs_sheet`, for given examples of all runs. comments: appended to the captions."""
    examples = [dataset.load(example_id) for example_id in ids]
    columns = _given(examples, hidden=hidden) | found_masks(examples, list(runs.values()))
    for label, run in runs.items():
        made = run.rows()
        columns[label] = [np.asarray(read_output(run.output(made[i]))) for i in ids]
    cut = _cut(list(runs.values()))
    captions = [f"{_words(e)}  {_CUT}" if e.id in cut else _words(e) for e in examples]
    if comments is not None:
        captions = [f"{caption}.  {more}" for caption, more in zip(captions, comments, strict=True)]
    drags = [example.drags for example in examples]
    foot = _foot(cut, list(runs.values())) if cut else ""
    return contact_sheet(columns, captions=captions, drags=drags, title=title, foot=foot)


def _cut(runs: Sequence[Run]) -> set[str]:
    """The examples that have a prompt of which a run's text encoder read only the beginning."""
    return {i for run in runs for i, row in run.rows().items() if row.cut}


def _foot(cut: Collection[str], runs: Sequence[Run]) -> str:
    """What the mark of a cut prompt means, and how many examples have it in all."""
    every = set[str]().union(*(run.rows() for run in runs))
    return (
        f"{_CUT}: the prompt is longer than what the text encoder reads; only its beginning was "
        f"read. {len(cut)} of {len(every)} examples have such a prompt."
    )


def run_sheet(run: Run, dataset: Dataset, *, hidden: bool) -> Path:
    """Write the sheet of one run to its `contact.png`. Raises UserError if it has no image."""
    spec = run.spec
    name = spec.sampler.name
    label = name if spec.is_external else f"{name.upper()}, {spec.steps} steps"
    return save_sheet(runs_sheet({label: run}, dataset, hidden=hidden), run.path / "contact.png")


def save_sheet(sheet: Image.Image, path: Path) -> Path:
    """Write a sheet as PNG, atomically. Raises UserError if the disk is full."""
    write_atomic(path, png_bytes(sheet))
    return path


def rendered_sheet(sheet: Image.Image, path: Path) -> dict[Path, bytes]:
    """A sheet as PNG at `path`, and beside it an SVG of the same size that embeds the PNG."""
    png = png_bytes(sheet)
    return {path: png, path.with_suffix(".svg"): _svg(png, sheet.size)}


def _svg(png: bytes, size: tuple[int, int]) -> bytes:
    width, height = size
    data = base64.b64encode(png).decode()
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/></svg>\n'
    )
    return svg.encode()


def _given(examples: Sequence[Example], *, hidden: bool) -> dict[str, list[Pixels]]:
    columns = {"original": [example.image for example in examples]}
    if any(example.target or example.drags for example in examples):
        truths = [example.truth for example in examples if example.truth is not None]
        return columns | ({"truth": truths} if len(truths) == len(examples) else {})
    if hidden:
        columns["masked"] = [masked(e.image, e.mask) for e in examples if e.mask is not None]
    return columns


def found_masks(examples: Sequence[Example], runs: Sequence[Run]) -> dict[str, list[Pixels]]:
    """The masks that a task found by itself; all runs that have masks have the same ones."""
    for run in runs:
        files = [run.mask_file(example.id) for example in examples]
        if all(file.exists() for file in files):
            given = zip(examples, files, strict=True)
            return {"mask found": [masked(e.image, _read_mask(file, e)) for e, file in given]}
    return {}


def _read_mask(path: Path, example: Example) -> NDArray[np.float64]:
    """A mask file, which has a pixel for each cell of the latent, for the example's image [H, W];
    1 = white."""
    height, width = example.image.shape[:2]
    mask = read_output(path).convert("1")
    side = pixels_per_cell(mask.size, (width, height))
    enlarged = np.asarray(mask).repeat(side, axis=0).repeat(side, axis=1)
    return enlarged[:height, :width].astype(np.float64)


def _words(example: Example) -> str:
    name, caption, target = (
        shortened(text, _TEXT) for text in (example.id, example.caption, example.target)
    )
    return f"{name}  {caption}{f'  ->  {target}' if target else ''}"


def masked(image: Pixels, mask: NDArray[np.floating]) -> Pixels:
    """The image [H, W, 3] with a grey checkerboard where `mask` [H, W] is 1; soft edges blend."""
    height, width = mask.shape
    tile = max(2, height // 16)
    odd = (np.arange(height)[:, None] // tile + np.arange(width)[None] // tile) % 2
    checks = np.asarray(_CHECKS, dtype=np.float64)[odd][..., None]
    share = mask.astype(np.float64)[..., None]
    blended: Pixels = np.rint(image * (1 - share) + checks * share).astype(np.uint8)
    return blended


def _checked(
    columns: Mapping[str, Sequence[Pixels]],
    captions: Sequence[str] | None,
    drags: Sequence[Sequence[Drag]],
) -> list[tuple[Pixels, ...]]:
    rows = list(zip(*columns.values(), strict=True))
    if not rows:
        raise ValueError("a contact sheet needs at least one image")
    shapes = {image.shape for images in rows for image in images}
    if any(len(shape) != 3 or shape[2] != 3 for shape in shapes):
        raise ValueError(f"images must all be [H, W, 3], not {sorted(shapes)}")
    if captions is not None and len(captions) != len(rows):
        raise ValueError(f"{len(captions)} captions for {len(rows)} rows")
    if drags and len(drags) != len(rows):
        raise ValueError(f"drags of {len(drags)} images for {len(rows)} rows")
    return rows


def _fonts(width: int) -> tuple[Font, Font]:
    """Fonts for headings and captions, in proportion to the width of the images."""
    size = max(12, min(28, width // 9))
    return ImageFont.load_default(size), ImageFont.load_default(max(11, int(size * 0.72)))


def _line(font: Font) -> int:
    """Height of a line of text, in pixels."""
    return round(1.5 * (font.getbbox("Ag")[3]))


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Lines of whole words that fit into `width` pixels; a single long word may exceed it."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines or [""]


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), _PAPER)


def _strip(images: Sequence[Image.Image], cell: tuple[int, int]) -> Image.Image:
    """Images side by side in the middles of cells of this size, with a gap around each."""
    width, height = cell
    strip = _blank(_GAP + len(images) * (width + _GAP), height + _GAP)
    for i, image in enumerate(images):
        left = _GAP + i * (width + _GAP)
        strip.paste(_BESIDE, (left, 0, left + width, height))
        strip.paste(image, (left + (width - image.width) // 2, (height - image.height) // 2))
    return strip


def _title(text: str, width: int, font: Font) -> Image.Image:
    """The title, left-aligned, above the headings."""
    lines = _wrapped(text, font, width - 2 * _GAP)
    part = _blank(width, _GAP + len(lines) * _line(font))
    draw = ImageDraw.Draw(part)
    for i, line in enumerate(lines):
        draw.text((_GAP, _GAP + i * _line(font)), line, _INK, font)
    return part


def _headings(names: Sequence[str], width: int, font: Font) -> Image.Image:
    """Names centred above columns that are `width` pixels wide; long names are wrapped."""
    texts = [_wrapped(name, font, width + _GAP - 2) for name in names]
    height = (1 + max(map(len, texts))) * _line(font)
    part = _blank(_GAP + len(names) * (width + _GAP), height)
    draw = ImageDraw.Draw(part)
    for i, lines in enumerate(texts):
        centre = _GAP + i * (width + _GAP) + width // 2
        for j, line in enumerate(lines):
            y = height // 2 + round((j - (len(lines) - 1) / 2) * _line(font))
            draw.text((centre, y), line, _INK, font, anchor="mm")
    return part


def _caption(text: str, width: int, font: Font) -> Image.Image:
    lines = _wrapped(text, font, width - 2 * _GAP)
    part = _blank(width, len(lines) * _line(font) + _GAP)
    draw = ImageDraw.Draw(part)
    for i, line in enumerate(lines):
        draw.text((_GAP, i * _line(font)), line, _FAINT, font)
    return part


def stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Images below each other."""
    sheet = _blank(max(part.width for part in parts), sum(part.height for part in parts))
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    return sheet
