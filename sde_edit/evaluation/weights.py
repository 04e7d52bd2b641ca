"""Weights of the networks of metrics: downloaded once and named in the convention."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from sde_edit.errors import UserError
from sde_edit.networks.weight_files import reason_of
from sde_edit.store.digests import file_digest

if TYPE_CHECKING:
    from torch import Tensor, nn


def hub_file(url: str) -> Path:
    """The file in which PyTorch's hub keeps a URL ($TORCH_HOME/hub/checkpoints)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]


def fetch(url: str) -> Path:
    """The file of a URL, downloaded if needed.

    Raises UserError with the remedy if that fails or if what came is no file of weights, such as
    the page of a portal that asks for a login.
    """
    path = hub_file(url)
    if path.exists():
        return path
    stamp = torch.hub.HASH_REGEX.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=stamp.group(1) if stamp else None, progress=False
        )
    except (OSError, HTTPException, RuntimeError) as error:
        raise UserError(
            f"cannot fetch {url} ({error}). Download it elsewhere and put it into {path.parent}"
        ) from error
    if not _holds_weights(path):
        path.unlink()
        raise UserError(
            f"cannot fetch {url} (what came is no file of weights). Download it elsewhere and put "
            f"it into {path.parent}"
        )
    return path


def _holds_weights(path: Path) -> bool:
    """Whether a file is one of PyTorch's: a whole zip archive, or a pickle in the older format."""
    with open(path, "rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


# What PyTorch, safetensors and the packages of metrics raise for a file that is not what it says.
DAMAGE = (
    *(OSError, RuntimeError, ValueError, EOFError, KeyError),
    *(pickle.UnpicklingError, SafetensorError),
)


@contextmanager
def reading(path: Path, remedy: str = "Delete it; it is fetched again") -> Iterator[None]:
    """Context manager: a file of weights that cannot be read is a UserError naming it."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except DAMAGE as error:
        raise UserError(f"{path} is damaged ({reason_of(error)}). {remedy}") from error


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of PyTorch, which may hold nothing else: no code of it is run."""
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def weights_note(path: Path) -> str:
    """File name and digest, as text for a convention; a missing file is "not fetched"."""
    return f"{path.name} " + (f"sha256 {file_digest(path)[:8]}" if path.exists() else "not fetched")


@cache
def package(name: str) -> str:
    """'name version' of an installed package, as text for a convention."""
    return f"{name} {version(name)}"


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's parameters."""
    return next(network.parameters()).device
