"""What a page asks for, and the `sde-edit edit` command that makes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sde_edit.api.example import Point
from sde_edit.api.override import override
from sde_edit.errors import UserError, first_problem
from sde_edit.overrides import read

Kind = Literal["inpaint", "prompt", "drag"]

# The tasks of each kind of edit; the first is that of `sde-edit edit <kind>`.
TASKS: Mapping[Kind, Sequence[str]] = {
    "inpaint": ("inpaint",),
    "prompt": ("diffedit", "p2p", "null_text", "sdedit", "roundtrip", "cyclediffusion"),
    "drag": ("drag", "drag_diffusion", "region_drag"),
}
Sampler = Literal["sde", "ode", "both"]
SAMPLERS: Mapping[Sampler, Sequence[str]] = {
    "sde": ("sde",),
    "ode": ("ode",),
    "both": ("ode", "sde"),
}


class Wish(BaseModel):
    """An edit of a photo.

    photo: its token. prompt: what the whole picture should show; of an edit by words or a drag,
    what it shows now. target: what it should show, for an edit by words. drags: from and to, in
    pixels of the photo. settings: key -> text as it was typed.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    photo: str
    kind: Kind
    task: str
    sampler: Sampler
    prompt: str
    target: str = ""
    drags: tuple[tuple[Point, Point], ...] = ()
    settings: dict[str, str] = {}

    def check(self, *, masked: bool) -> None:
        """Raises UserError if the edit lacks something, in the order in which one would give it."""
        if self.kind == "inpaint" and not masked:
            raise UserError("Brush over what is to be repainted.")
        if self.kind == "drag" and not self.drags:
            raise UserError("Click what is to move, then where it should go.")
        if not self.prompt.strip():
            shows = "should show" if self.kind == "inpaint" else "shows now"
            raise UserError(f"Say what the picture {shows}.")
        if self.kind == "prompt" and not self.target.strip():
            raise UserError("Say what the picture should show.")
        if self.task not in TASKS[self.kind]:
            raise UserError(f"Method {self.task}: choose one of {', '.join(TASKS[self.kind])}.")

    def overrides(self, base: Sequence[str], types: Mapping[str, str]) -> list[str]:
        """What the command is given after its options.

        types: key -> type in words, of the settings that the page offers. Raises UserError for
        another setting, and for a text that is no value.
        """
        task = [f"task={self.task}"] if self.task != TASKS[self.kind][0] else []
        chosen = f"sampler={','.join(self.samplers)}"
        return [*base, *task, chosen, *(_setting(*one, types) for one in self.settings.items())]

    @property
    def samplers(self) -> Sequence[str]:
        """What makes each result, in the order of the results."""
        return SAMPLERS[self.sampler]

    def picture(self, photo: Path, mask: Path | None) -> dict[str, Any]:
        """The settings of data=picture, as the command gives them."""
        found: dict[str, Any] = {"image": str(photo), "mask": str(mask) if mask else None}
        found |= {"hole": "white", "caption": self.prompt}
        if self.kind == "prompt":
            found["target"] = self.target
        if self.kind == "drag":
            found["drags"] = [[list(point) for point in pair] for pair in self.drags]
        return found

    def command(self, photo: Path, mask: Path | None, overrides: Sequence[str]) -> list[str]:
        """The words of the command that makes the same bytes."""
        words = [
            "sde-edit",
            "edit",
            self.kind,
            str(photo),
            *(["--mask", str(mask)] if mask else []),
        ]
        if self.kind == "prompt":
            words += ["--from", self.prompt, "--to", self.target]
        else:
            words += [*self._points(), "--prompt", self.prompt]
        return [*words, "--out", "out.png", *overrides]

    def _points(self) -> list[str]:
        pairs = self.drags if self.kind == "drag" else ()
        return [
            word
            for source, target in pairs
            for word in ("--from", _point(source), "--to", _point(target))
        ]


class Request(BaseModel):
    """What a page sends. mask: white is what may change, as a PNG in base64; or ""."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    wish: Wish
    mask: str


def read_request(content: bytes) -> Request:
    """Raises UserError for what no page of the studio sends."""
    try:
        return Request.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"the request is no edit: {first_problem(error)}") from error


def _point(point: Point) -> str:
    return ",".join(f"{value:g}" for value in point)


def _setting(key: str, text: str, types: Mapping[str, str]) -> str:
    """The override that sets a key to what was typed."""
    if key not in types:
        raise UserError(f"{key}: the studio has no such setting")
    if types[key].startswith("text"):
        return override(key, text)
    line = f"{key}={text.strip()}"
    with suppress(UserError):
        (given,) = read([line])
        if not given.is_sweep_override():
            return line
    raise UserError(f"{key}: {text!r} is not one value ({types[key]})")
