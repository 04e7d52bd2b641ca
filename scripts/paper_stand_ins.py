"""Stand-ins for the models and data sets of setting=paper, to plan its runs where they are not.

    python scripts/paper_stand_ins.py OUT [--images 1000] [--drags 100] [--pixels 128]
    cd OUT
    sde-edit sweep table=table2 setting=paper --dry-run --tflops 495 metrics=[]

The folder has the official layouts: Stable Diffusion 1.5 and ADM with the shapes of their layers in
place of weights, and data sets of grey images, in which every drag goes over --pixels of 512. Such
runs can be planned, not made.
"""

from __future__ import annotations

import argparse
import json
import runpy
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

SIDE = 512
LION, TIGER = "n02129165", "n02129604"


# ------------------------------------------------------------------ models
def script(name: str) -> dict[str, Any]:
    """What another script defines."""
    return runpy.run_path(str(Path(__file__).with_name(name)))


def stable_diffusion(folder: Path) -> None:
    """Configs, a tokenizer that knows letters only, and files of weights with one number each."""
    official = script("random_sd15.py")
    with torch.device("meta"):
        unet, vae = official["unet"](), official["vae"]()
    (folder / "tokenizer").mkdir(parents=True)
    letters = official["tokenizer"](folder / "tokenizer")
    letters.save_pretrained(folder / "tokenizer")
    with torch.device("meta"):
        text = official["text_encoder"](len(letters))
    unet.save_config(folder / "unet")
    vae.save_config(folder / "vae")
    text.config.architectures = [type(text).__name__]
    text.config.save_pretrained(folder / "text_encoder")
    official["scheduler"]().save_pretrained(folder / "scheduler")
    for stem in (
        "unet/diffusion_pytorch_model",
        "vae/diffusion_pytorch_model",
        "text_encoder/model",
    ):
        save_file({"stand-in": torch.zeros(1)}, folder / f"{stem}.safetensors")


def adm(folder: Path) -> None:
    """Tensors of the official names and shapes, each of a single number that it repeats."""
    folder.mkdir(parents=True)
    for name, shapes in script("random_adm.py")["official"]().items():
        repeated = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
        torch.save(repeated, folder / name)


# ------------------------------------------------------------------ data sets
def encoded(image: Image.Image, kind: str) -> bytes:
    """The content of an image file."""
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


GREY = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
JPEG = encoded(GREY, "JPEG")


def write(file: Path, content: bytes | dict[str, Any]) -> None:
    """Write bytes, or a dictionary as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def places(root: Path, images: int) -> None:
    """Images, and masks with a black hole over a quarter."""
    mask = Image.new("L", (SIDE, SIDE), 255)
    mask.paste(0, (0, 0, SIDE // 2, SIDE // 2))
    hole = encoded(mask, "PNG")
    for k in range(images):
        write(root / "images" / f"{k:04d}.jpg", JPEG)
        for masks in ("small", "large"):
            write(root / "masks" / masks / f"{k:04d}.png", hole)


def coco(root: Path, images: int) -> None:
    """val2017 and val2014 with captions, and a BISON row for every image of the latter."""
    ids = range(1, images + 2)
    for split, prefix in (("val2017", ""), ("val2014", "COCO_val2014_")):
        names = {i: f"{prefix}{i:012d}.jpg" for i in ids}
        said = [{"image_id": i, "id": i, "caption": "A grey picture."} for i in ids]
        known = [
            {"id": i, "file_name": name, "height": SIDE, "width": SIDE} for i, name in names.items()
        ]
        content = {"images": known, "annotations": said}
        write(root / "annotations" / f"captions_{split}.json", content)
        for name in names.values():
            write(root / split / name, JPEG)
    rows = [bison_row(i, names) for i in ids if i <= images]
    write(root / "annotations" / "bison_annotations.cocoval2014.json", {"data": rows})


def bison_row(i: int, names: dict[int, str]) -> dict[str, Any]:
    """The caption of image i + 1, for image i."""
    candidates = [{"image_id": k, "image_filename": names[k]} for k in (i, i + 1)]
    return {
        **{"bison_id": i, "caption_id": i + 1, "caption": "Another grey picture."},
        **{"true_image_id": i + 1, "image_candidates": candidates},
    }


def imagenet(root: Path, images: int) -> None:
    """Two classes of the training images."""
    for wnid in (LION, TIGER):
        for k in range(images):
            write(root / "train" / wnid / f"{wnid}_{k}.JPEG", JPEG)


def dragbench(root: Path, drags: int, pixels: int) -> None:
    """One drag to the right in every image."""
    left, middle = (SIDE - pixels) // 2, SIDE // 2
    points = {"source": [[left, middle]], "target": [[left + pixels, middle]]}
    for k in range(drags):
        write(root / f"{k:03d}" / "prompt.json", {"prompt": "a grey picture", **points})
        write(root / f"{k:03d}" / "origin_image.png", encoded(GREY, "PNG"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=1000, help="of each data set but DragBench")
    parser.add_argument("--drags", type=int, default=100, help="images of DragBench")
    parser.add_argument("--pixels", type=int, default=128, help="length of a drag")
    given = parser.parse_args()
    data = given.out / "data"
    stable_diffusion(given.out / "stable-diffusion-v1-5" / "stable-diffusion-v1-5")
    adm(data / "adm")
    places(data / "places", given.images)
    coco(data / "coco", given.images)
    imagenet(data / "imagenet", given.images)
    dragbench(data / "dragbench", given.drags, given.pixels)
    print(given.out)


if __name__ == "__main__":
    main()
