"""DragBench of "The Blessing of Randomness": 100 images to drag (not DragDiffusion's 205)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Point
from sde_edit.imaging.image_drags import ImageDrags, Instruction
from sde_edit.imaging.image_pairs import read_json
from sde_edit.registry import plugin


@dataclass(frozen=True)
class _PromptFile:
    prompt: str
    source: list[Point]
    target: list[Point]


@plugin
@dataclass(frozen=True)
class DragBench(ImageDrags):
    """Sec. 4.2 and App. F.4 of the paper; settings: see `ImagePairs`.

    root   holds folders, at any depth, with origin_image.png, prompt.json {"prompt", "source":
           [[x, y], ...], "target": [[x, y], ...]} and, for some, mask.png, whose white region may
           change. Without a mask, or with a mask that is all white, everything may change.
    side   the side that becomes `resolution` with fit=keep: short or long
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.NIE2024BLESSING
    image_name: ClassVar[str] = "origin_image.png"
    instruction_names: ClassVar[Sequence[str]] = ("prompt.json",)

    def read_instruction(self, file: Path) -> Instruction:
        raw = read_json(file, _PromptFile)
        return Instruction(raw.prompt, raw.source, raw.target)
