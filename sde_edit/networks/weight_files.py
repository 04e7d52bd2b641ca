"""Checks that files of weights are whole, and that their tensors are those of the network."""

from __future__ import annotations

import json
import textwrap
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sde_edit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_LFS = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"  # how torch.save begins its files
_MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors format


def check_whole(file: Path) -> None:
    """Raises UserError for a git-lfs pointer, and for a truncated or damaged file of weights."""
    head = _head(file)
    if head.startswith(_LFS):
        raise UserError(
            f"{file} is a git-lfs pointer, not the file itself: run `git lfs install` and "
            "`git lfs pull` in its repository, or fetch the model with `hf download`"
        )
    whole = _is_whole_safetensors(file) if file.suffix == ".safetensors" else True
    if not whole or (head.startswith(_ZIP) and not zipfile.is_zipfile(file)) or not head:
        raise UserError(f"{file} is truncated or damaged ({_size(file)} bytes): fetch it again")


def check_tensors(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], weights: Path, remedy: str
) -> None:
    """Raises UserError, as `refuse_tensors`, unless a file gives the tensors of a network.

    wanted, given: name -> tensor, of the network and of the file.
    """
    common = wanted.keys() & given.keys()
    reshaped = [key for key in common if wanted[key].shape != given[key].shape]
    refuse_tensors(
        weights,
        remedy,
        missing=wanted.keys() - given.keys(),
        unexpected=given.keys() - wanted.keys(),
        reshaped=[f"{k}, {[*given[k].shape]} for {[*wanted[k].shape]}" for k in reshaped],
    )


def refuse_tensors(
    weights: Path,
    remedy: str,
    *,
    missing: Collection[str],
    unexpected: Collection[str],
    reshaped: Collection[str],
) -> None:
    """Raises UserError for tensors that do not fit, naming the file, one of them and the remedy.

    A network that loads such a file would go on with random weights.
    """
    for verb, which, keys in (
        ("lack", "of the network", missing),
        ("hold", "that the network does not have", unexpected),
        ("hold", "of another shape", reshaped),
    ):
        if keys:
            raise UserError(
                f"{weights}: the weights {verb} {len(keys)} tensors {which}, such as {min(keys)}. "
                f"{remedy}"
            )


def reason_of(error: BaseException) -> str:
    """What a library says of a file, in one line of at most a few; it writes several."""
    return textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__


def _head(file: Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(len(_LFS))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def _size(file: Path) -> int:
    return file.stat().st_size


def _is_whole_safetensors(file: Path) -> bool:
    """Whether the header can be read and the file ends where its last tensor does."""
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length < _MAX_HEADER else b""
    try:
        tensors = {key: value for key, value in json.loads(header).items() if key[:2] != "__"}
        end = max(tensor["data_offsets"][1] for tensor in tensors.values())
    except (ValueError, AttributeError, KeyError, TypeError, IndexError):
        return False
    return bool(_size(file) == 8 + length + end)
