"""Checkpoints in diffusers' layouts: their files, digest, network and schedule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.store.digests import files_digest

if TYPE_CHECKING:
    import torch

ASSETS = Path(__file__).parents[1] / "assets"
Prediction = Literal["epsilon", "v_prediction"]


def checkpoint_folder(path: str, patterns: Iterable[str], key: str = "model.path") -> Path:
    """The folder with the files, which are fetched first if the path is a hub id.

    path: a folder, a hub id, or `embedded:NAME` for a model shipped in this package. patterns: the
    files to fetch from a hub repository. key: the setting that gave the path, for messages.
    Raises UserError with a remedy if there is no such folder or the hub does not answer.
    """
    if path.startswith("embedded:"):
        return ASSETS / path.removeprefix("embedded:")
    if Path(path).is_dir():
        return Path(path)
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        raise UserError(f"{key}={path}: no such folder")
    return _snapshot(path, list(patterns), key)


def _snapshot(hub_id: str, patterns: list[str], key: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{key}={hub_id} could not be fetched from the hub ({type(error).__name__}). "
            f"On a machine with internet run `hf download {hub_id}` and copy the folder, then "
            f"give {key}=/that/folder; or use model=shapes, which is shipped in the package"
        ) from error


def checkpoint_digest(folder: Path, names: Sequence[str], given: str) -> str:
    """SHA-256 over names and contents of the files.

    given: the setting that chose the folder, as `key=value`. Raises UserError that names it and the
    missing files.
    """
    files = [folder / name for name in names]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{given} lacks {', '.join(missing)}; only safetensors are read "
            "(diffusers' save_pretrained writes them)"
        )
    return files_digest(files, relative_to=folder)


def load_network(cls: Any, folder: Path, dtype: torch.dtype, *, safetensors: bool = True) -> Any:
    """A diffusers network in evaluation mode, on the CPU.

    safetensors: if False, its .bin file is read with torch.load(weights_only=True).
    Raises UserError if weights are missing, where diffusers would continue with random ones.
    """
    network, found = cls.from_pretrained(
        folder, dtype=dtype, use_safetensors=safetensors, output_loading_info=True
    )
    if missing := found["missing_keys"]:
        raise UserError(
            f"{folder}: the weights lack {len(missing)} tensors of the network, such as "
            f"{min(missing)}. Fetch the folder again; its config.json must belong to its weights"
        )
    return network.eval()


def read_config(file: Path) -> dict[str, Any]:
    """A config of diffusers. Raises UserError if the file is missing."""
    if not file.is_file():
        raise UserError(f"{file} is missing: model.path must hold a diffusers folder")
    config: dict[str, Any] = json.loads(file.read_text())
    return config


def read_scheduler(file: Path) -> tuple[Schedule, Prediction]:
    """alpha_bar and the kind of prediction from a scheduler_config.json.

    Raises UserError if the file is missing or has settings that are not supported.
    """
    config = read_config(file)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in get_args(Prediction):
        known = ", ".join(get_args(Prediction))
        raise UserError(f"{file}: prediction_type {prediction!r} is not supported; known: {known}")
    for key in ("trained_betas", "rescale_betas_zero_snr"):
        if config.get(key):
            raise UserError(f"{file}: {key} is not supported")
    schedule = Schedule.from_betas(
        config["beta_schedule"],
        config["beta_start"],
        config["beta_end"],
        config["num_train_timesteps"],
    )
    return schedule, cast("Prediction", prediction)
