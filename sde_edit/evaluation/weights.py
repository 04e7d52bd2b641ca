"""Weights of the networks of metrics: downloaded once and named in the convention."""

from __future__ import annotations

from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from sde_edit.errors import UserError
from sde_edit.store.digests import file_digest


def hub_file(url: str) -> Path:
    """The file in which PyTorch's hub keeps a URL ($TORCH_HOME/hub/checkpoints)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]


def fetch(url: str) -> Path:
    """The file of a URL, downloaded if needed. Raises UserError with the remedy if that fails."""
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
    return path


def weights_note(path: Path) -> str:
    """File name and digest, as text for a convention; a missing file is "not fetched"."""
    return f"{path.name} " + (f"sha256 {file_digest(path)[:8]}" if path.exists() else "not fetched")


def package(name: str) -> str:
    """'name version' of an installed package, as text for a convention."""
    return f"{name} {version(name)}"


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's parameters."""
    return next(network.parameters()).device
