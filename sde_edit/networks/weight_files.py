"""Checks that files of a checkpoint are whole, without reading their tensors."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from sde_edit.errors import UserError

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
