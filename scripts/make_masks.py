"""Draw a seeded free-form mask for every image of a folder.

    python scripts/make_masks.py data/places/images data/places/masks/small --masks small
    python scripts/make_masks.py my/images my/masks --masks large --hole white --image-size

The mask of an image depends on its path below the folder, its size, --masks and --seed alone, so
adding images changes no mask. Masks that are there already are kept; the command can be repeated.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sde_edit.errors import UserError
from sde_edit.imaging.files import list_images, name_problems, read_size
from sde_edit.imaging.masks import RATIOS, Hole, draw_mask
from sde_edit.imaging.names import stem
from sde_edit.store.files import write_atomic

if TYPE_CHECKING:
    from sde_edit.api.example import Mask


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0, or 1 if there are no images or some could not be read."""
    args = _parser().parse_args(argv)
    images, _ = list_images(args.images)
    if not images:
        print(f"no images in {args.images}", file=sys.stderr)
        return 1
    names = {image: stem(image, args.images) for image in images}
    if problems := name_problems("images", names, args.images):
        print("\n".join(problems), file=sys.stderr)
        return 1
    written, failed = 0, 0
    for image in images:
        try:
            written += _make(image, args)
        except UserError as error:
            failed += 1
            print(error, file=sys.stderr)
    kept = len(images) - written - failed
    print(f"{written} masks written to {args.out}, {kept} kept, {failed} images failed")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of images, subfolders included")
    parser.add_argument("out", type=Path, help="folder for the masks, same names, .png")
    parser.add_argument("--masks", choices=sorted(RATIOS), default="small")
    parser.add_argument("--hole", choices=("black", "white"), default="black")
    parser.add_argument("--resolution", type=int, default=512, help="side of the square masks")
    parser.add_argument("--image-size", action="store_true", help="as large as the image instead")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _make(image: Path, args: argparse.Namespace) -> bool:
    """Write one mask unless it is there; True if written."""
    name = stem(image, args.images)
    target = args.out / f"{name}.png"
    if target.exists():
        return False
    width, height = read_size(image) if args.image_size else (args.resolution, args.resolution)
    mask = draw_mask(args.masks, f"{args.seed}/{name}", height=height, width=width)
    write_atomic(target, _png(mask, args.hole))
    return True


def _png(mask: Mask, hole: Hole) -> bytes:
    bright = mask if hole == "white" else 1 - mask
    buffer = io.BytesIO()
    Image.fromarray((255 * bright).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
