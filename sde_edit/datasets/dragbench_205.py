"""DragDiffusion's DragBench: 205 images to drag (not the paper's 100)."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Point
from sde_edit.errors import UserError, first_problem
from sde_edit.imaging.image_drags import ImageDrags, Instruction
from sde_edit.imaging.image_pairs import read_json
from sde_edit.registry import plugin
from sde_edit.store.files import read_given

_PICKLE = "meta_data.pkl"


@dataclass(frozen=True)
class _Points:
    """points: alternately a source and its target."""

    prompt: str
    points: list[Point]


@plugin
@dataclass(frozen=True)
class DragBench205(ImageDrags):
    """Shi et al. 2023; settings: see `ImagePairs`.

    root   holds folders, at any depth, with original_image.png and drag_instruction.json {"prompt",
           "points": [[x, y], ...], alternately a source and its target} or the original
           meta_data.pkl, which has the same keys and `mask`. The JSON takes precedence over the
           pickle, and mask.png over the pickle's mask.
    side   the side that becomes `resolution` with fit=keep: short or long

    Only arrays of numbers and plain values are unpickled. Any other class is refused, and its code
    never runs.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.SHI2024DRAGDIFFUSION
    image_name: ClassVar[str] = "original_image.png"
    instruction_names: ClassVar[Sequence[str]] = ("drag_instruction.json", _PICKLE)

    def read_instruction(self, file: Path) -> Instruction:
        raw = _pickled_points(file) if file.name == _PICKLE else read_json(file, _Points)
        return Instruction(raw.prompt, raw.points[::2], raw.points[1::2])

    def mask_file(self, folder: Path) -> Path | None:
        pickled = folder / _PICKLE
        return super().mask_file(folder) or (pickled if pickled.is_file() else None)

    def read_mask(self, file: Path) -> Image.Image:
        if file.name != _PICKLE:
            return super().read_mask(file)
        mask = read_pickle(file).get("mask")
        if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype.kind not in "biuf":
            raise UserError(f"{file}: `mask` must be an array [H, W] of numbers")
        # As in DragDiffusion, every value above 0 may change.
        return Image.fromarray(np.where(mask > 0, 255, 0).astype(np.float32))


def _pickled_points(file: Path) -> _Points:
    raw = read_pickle(file)
    try:
        return TypeAdapter(_Points).validate_python({k: raw.get(k) for k in ("prompt", "points")})
    except ValidationError as error:
        raise UserError(f"{file}: {first_problem(error)}") from error


# ------------------------------------------------------------------ pickles

_MOST_BYTES = 2**26  # of a file; the official ones have less than 1 MiB
_NUMBERS = re.compile(r"[<>|=]?(b1|[biu][1248]|f[248])")


class _Dtype:
    """Stands for np.dtype in a pickle. Object arrays would crash the interpreter, so that only the
    types of plain numbers are taken.
    """

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or not _NUMBERS.fullmatch(name):
            raise UserError(f"it holds an array of {name!r}, and only arrays of numbers are read")
        self.name, self.order = name.lstrip("<>|="), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """state: NumPy's version of the format, the byte order, and what numbers do not have."""
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {order!r}")
        self.order = order


class _Array:
    """Stands for an array in a pickle: it only keeps what NumPy would be given."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """state: NumPy's version of the format, the shape, the dtype, Fortran's order, the bytes.

        Raises ValueError if the bytes do not fill the shape.
        """
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise ValueError("an array without numbers")
        flat = np.frombuffer(content, np.dtype(f"{dtype.order}{dtype.name}"))
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _array(*_: object) -> _Array:
    """Stands for the function that rebuilds arrays."""
    return _Array()


# The module has another name in NumPy 1 than in NumPy 2.
_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
}


class _ArraysOnly(pickle.Unpickler):
    """A pickle can call anything that it names; here it can only name arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"it holds {module}.{name}, and only NumPy arrays and plain values are read; do "
                "not open it otherwise, but take drag_instruction.json instead"
            )
        return _ALLOWED[module, name]


def read_pickle(file: Path) -> dict[str, Any]:
    """Unpickle a dict of arrays and plain values.

    Arrays are of numbers and made of the bytes in the file. Raises UserError naming the file, and
    the class if it is not allowed; such code never runs.
    """
    broken = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"has more than {_MOST_BYTES >> 20} MiB, which no item needs")
        raw = _ArraysOnly(io.BytesIO(read_given(file))).load()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except (*broken, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(f"{file}: damaged ({type(error).__name__}: {error})") from error
    if not isinstance(raw, dict):
        raise UserError(f"{file}: holds no dict with prompt, points and mask")
    return {key: v.value if isinstance(v, _Array) else v for key, v in raw.items()}
