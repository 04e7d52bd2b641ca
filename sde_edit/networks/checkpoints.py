"""Checkpoints in diffusers' layouts: their files, digest, network and schedule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.networks.weight_files import check_whole, reason_of, refuse_tensors
from sde_edit.store.digests import named_digest

if TYPE_CHECKING:
    import torch

ASSETS = Path(__file__).parents[1] / "assets"
Prediction = Literal["epsilon", "v_prediction"]


# ------------------------------------------------------------------ from a path to a folder
def checkpoint_folder(path: str, patterns: Iterable[str], key: str = "model.path") -> Path:
    """The folder with the files, which are fetched first if the path is a hub id.

    path: a folder, a hub id, or `embedded:NAME` for a model shipped in this package. patterns: the
    files to fetch from a hub repository. key: the setting that gave the path, for messages: one of
    a model, `model.path` and the like, or one of a metric, in its YAML. Raises UserError with a
    remedy if there is no such folder or the hub does not answer.
    """
    if path.startswith("embedded:"):
        return _embedded(path, key)
    local = Path(path)
    if local.is_dir():
        return local
    if local.is_file():
        raise UserError(
            f"{key}={path} is a single file, and models are read from folders in diffusers' "
            f'layout. Convert it once: StableDiffusionPipeline.from_single_file("{path}")'
            f'.save_pretrained("FOLDER"), then {_give(key, "FOLDER")}'
        )
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        raise UserError(f"{key}={path}: no such folder (looked for it in {Path.cwd()})")
    if local.parent.is_dir():
        raise UserError(
            f"{key}={path}: no such folder in {Path.cwd()}, where there is a folder {local.parent}."
            " If the hub's repository of that name is meant, run in another folder"
        )
    return _snapshot(path, list(patterns), key)


def _embedded(path: str, key: str) -> Path:
    known = sorted(f"embedded:{folder.name}" for folder in ASSETS.iterdir() if folder.is_dir())
    if path not in known:
        raise UserError(f"{key}={path}: the package ships {', '.join(known)} only")
    return ASSETS / path.removeprefix("embedded:")


def _snapshot(hub_id: str, patterns: list[str], key: str) -> Path:
    from httpx import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except HFValidationError as error:
        raise UserError(f"{key}={hub_id}: neither a folder here nor a hub id ({error})") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{key}={hub_id}: there is no such folder in {Path.cwd()}, and the hub has no "
            "repository of this name that you may read. Check the spelling, or `hf auth login` "
            "for one that is private"
        ) from error
    except (HTTPError, OSError) as error:
        shipped = "; or use model=shapes, which is shipped in the package"
        raise UserError(
            f"{key}={hub_id} is no folder in {Path.cwd()}, and could not be fetched from the hub "
            f"({type(error).__name__}). "
            f"On a machine with internet run `hf download {hub_id} --local-dir /that/folder`, copy "
            "the folder here and "
            f"{_give(key, '/that/folder')}{shipped if _is_override(key) else ''}"
        ) from error


def _is_override(key: str) -> bool:
    """Whether a setting is one of a model; those of a metric are in its YAML alone."""
    return key.startswith("model.")


def _give(key: str, folder: str) -> str:
    """How a folder is given, as a remedy."""
    if _is_override(key):
        return f"give {key}={folder}"
    return f"set `{key}: {folder}` in the metric's YAML"


def fetch_weights(
    path: str, folder: Path, alternatives: Iterable[Sequence[str]], key: str = "model.path"
) -> Path:
    """The folder of a checkpoint after its weights have been fetched, if the path is a hub id.

    alternatives: for each network the names that its weights may have, in order of preference. A
    name is fetched only if the folder has no earlier one. Raises UserError as `checkpoint_folder`.
    """
    for names in alternatives:
        for name in names:
            if not any((folder / known).is_file() for known in names):
                folder = checkpoint_folder(path, [name], key)
    return folder


# ------------------------------------------------------------------ the files
def weight_names(stem: str) -> tuple[str, str]:
    """The names under which a network's weights are read, such as vae/diffusion_pytorch_model."""
    return f"{stem}.safetensors", f"{stem}.fp16.safetensors"


def weights_of(folder: Path, stem: str, given: str) -> Path:
    """The file with the weights of a network: that without `.fp16` if there are both.

    given: the setting that chose the folder, as `key=value`. Raises UserError that names it.
    """
    for name in weight_names(stem):
        if (folder / name).is_file():
            return folder / name
    raise _lacks(given, [folder / weight_names(stem)[0]])


def require_files(files: Iterable[Path], given: str) -> None:
    """Raises UserError naming the files that are missing, and `given`, the setting that chose
    their folder, as `key=value`.
    """
    if missing := [file for file in files if not file.is_file()]:
        raise _lacks(given, missing)


def checkpoint_digest(files: Mapping[str, Path], given: str) -> str:
    """SHA-256 over names and contents of the files that decide what a network computes.

    files: name -> file. Raises UserError that names `given`, the setting that chose them as
    `key=value`, and the files that are missing; and for a file that is not whole.
    """
    require_files(files.values(), given)
    for file in files.values():
        check_whole(file)
    return named_digest(files)


def _lacks(given: str, missing: Sequence[Path]) -> UserError:
    source = given.partition("=")[2]
    again = f"If the download was interrupted, repeat it: `hf download {source}`"
    if Path(source).is_dir():
        again = "Copy the folder again, as a whole"
    read = "; only safetensors are read (diffusers' save_pretrained writes them)"
    weights = any(file.suffix == ".safetensors" for file in missing)
    return UserError(
        f"{given} lacks {', '.join(map(str, missing))}{read if weights else ''}. {again}"
    )


def read_config(file: Path) -> dict[str, Any]:
    """A config of diffusers. Raises UserError if the file is missing or is not one."""
    if not file.is_file():
        raise UserError(f"{file} is missing: fetch its folder again, as a whole")
    check_whole(file)
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}): fetch it again") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} does not hold the settings of a model: fetch it again")
    return config


def read_switch(file: Path, key: str, default: bool) -> bool:
    """A switch in a config of diffusers. Raises UserError if it is neither true nor false."""
    value = read_config(file).get(key, default)
    if not isinstance(value, bool):
        raise UserError(f"{file}: {key} is {value!r}: it must be true or false")
    return value


# ------------------------------------------------------------------ networks
def blank(cls: Any, folder: Path) -> Any:
    """A network of diffusers on torch's meta device: the layers that the folder's config names."""
    import torch

    with torch.device("meta"):
        return cls.from_config(read_config(folder / "config.json"))


def load_network(cls: Any, weights: Path, dtype: torch.dtype) -> Any:
    """A network of diffusers or transformers in evaluation mode, on the CPU.

    weights: a file beside the network's config.json; a .bin file is read with
    torch.load(weights_only=True). Raises UserError if it cannot be read, or if its tensors are not
    those of the network, where the libraries would continue with random ones.
    """
    from safetensors import SafetensorError

    try:
        network, found = cls.from_pretrained(
            weights.parent,
            dtype=dtype,
            use_safetensors=weights.suffix == ".safetensors",
            variant="fp16" if ".fp16." in weights.name else None,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{weights} cannot be loaded as {cls.__name__} ({reason_of(error)}). {_FETCH_AGAIN}"
        ) from error
    refuse_tensors(
        weights,
        _FETCH_AGAIN,
        missing=found["missing_keys"],
        # A buffer that old versions of transformers stored, and that later ones compute.
        unexpected=[key for key in found["unexpected_keys"] if not key.endswith("position_ids")],
        reshaped=[str(key) for key in found["mismatched_keys"]],
    )
    return network.eval()


_FETCH_AGAIN = "Fetch the folder again; its config.json must belong to its weights"


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
    betas = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps")
    if missing := [key for key in betas if key not in config]:
        raise UserError(f"{file} lacks {', '.join(missing)}: only schedules of betas are read")
    return Schedule.from_betas(*(config[key] for key in betas)), cast("Prediction", prediction)
