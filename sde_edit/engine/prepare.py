"""Masks that tasks find and LoRAs that are fitted, cached so that all arms share them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.model import Adaptable, Adapter, LoraSettings, Model
from sde_edit.api.spec import RunSpec
from sde_edit.api.task import FindsMask, FitsLora
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import images
from sde_edit.engine.memory import AdaptiveBatcher
from sde_edit.engine.output import ActiveRun
from sde_edit.errors import UserError
from sde_edit.networks.lora import VERSION
from sde_edit.store.files import canonical, safe_name, write_atomic
from sde_edit.store.runs import Run

# From the places of some examples, and the noise of each, to their LoRAs.
Fit = Callable[[Sequence[int], Noise], Sequence[Adapter]]


_PREFIX, _SUFFIX = "unet.", ".weight"  # as diffusers' `load_lora_weights` expects them


class LoraCache:
    """The LoRAs of one model, with one kind of settings. Data set, task and sampler do not matter.

    One safetensors file per image and prompt, which diffusers' pipelines can load.
    """

    def __init__(self, cache: Path, spec: RunSpec, settings: LoraSettings) -> None:
        fields = asdict(spec)
        basis = {"version": VERSION, **asdict(settings)}
        basis |= {key: fields[key] for key in ("model", "dtype", "seed")}
        self.folder = cache / "lora" / hashlib.sha256(canonical(basis).encode()).hexdigest()[:12]
        self._seed = spec.seed

    def fill(self, examples: Sequence[Example], prompts: Sequence[str], fit: Fit) -> list[Example]:
        """The examples, each with its LoRA; those that are missing are fitted first, in a batch.

        Raises UserError for a fit that is not finite, which is not kept.
        """
        keys = [_key(*pair) for pair in zip(examples, prompts, strict=True)]
        files = [self.folder / f"{key}.safetensors" for key in keys]
        missing = [b for b, file in enumerate(files) if not file.exists()]
        if missing:
            noise = Noise(self._seed, tuple(keys[b] for b in missing))
            for b, adapter in zip(missing, fit(missing, noise), strict=True):
                if not all(weight.isfinite().all() for weight in adapter.values()):
                    raise UserError(
                        f"{examples[b].id}: the fit of its LoRA gave NaN or infinity: use "
                        "dtype=bfloat16 or dtype=float32, or a smaller task.lora_rate"
                    )
                named = {f"{_PREFIX}{name}{_SUFFIX}": w for name, w in adapter.items()}
                write_atomic(files[b], save({n: w.contiguous() for n, w in named.items()}))
        return [replace(e, adapter=_read(file)) for e, file in zip(examples, files, strict=True)]


def _key(example: Example, prompt: str) -> str:
    """Of what the LoRA is fitted to: pixels and prompt."""
    content = hashlib.sha256(example.image.tobytes())
    content.update(f"{example.image.shape}{prompt}".encode())
    return content.hexdigest()[:16]


def _read(file: Path) -> Adapter:
    return {
        name.removeprefix(_PREFIX).removesuffix(_SUFFIX): weight
        for name, weight in load_file(file).items()
    }


Find = Callable[[Sequence[Example]], Tensor]


class MaskCache:
    """The masks of the experiments that agree in everything that masks depend on.

    One black and white PNG per example, at the size of the latent. A run gets copies of its own.
    """

    def __init__(self, cache: Path, spec: RunSpec, task: FindsMask) -> None:
        fields = asdict(spec)
        keys = ("model", "data", "steps", "spacing", "last_sigma", "dtype", "seed")
        basis = {"kind": spec.task.kind, "version": spec.task.version, **task.mask_settings()}
        basis |= {key: fields[key] for key in keys}
        self.folder = cache / "masks" / hashlib.sha256(canonical(basis).encode()).hexdigest()[:12]

    def fill(self, examples: Sequence[Example], find: Find, runs: Sequence[Run]) -> list[Example]:
        """The examples, each with its mask [H, W]; those that are missing are found first."""
        missing = [example for example in examples if not self._file(example).exists()]
        if missing:
            for example, mask in zip(missing, find(missing).cpu().numpy(), strict=True):
                write_atomic(self._file(example), _png(mask))
        for example in examples:
            for run in runs:
                write_atomic(run.mask_file(example.id), self._file(example).read_bytes())
        return [replace(example, mask=self._read(example)) for example in examples]

    def _file(self, example: Example) -> Path:
        return self.folder / f"{safe_name(example.id)}.png"

    def _read(self, example: Example) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with Image.open(self._file(example)) as image:
            size = (example.image.shape[1], example.image.shape[0])
            pixels = np.asarray(image.resize(size, Image.Resampling.NEAREST))
        return pixels.astype(np.float32)


def _png(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    return data.getvalue()


def find_masks_of(
    makings: Sequence[ActiveRun],
    model: Model,
    grid: Grid,
    noise: Noise,
    examples: Sequence[Example],
) -> Sequence[Example]:
    experiment = makings[0].experiment
    task = experiment.task
    if not isinstance(task, FindsMask) or not task.finds_mask:
        return examples

    def find(some: Sequence[Example]) -> Tensor:
        own = Noise(noise.seed, tuple(example.id for example in some))
        return task.find_masks(some, model, grid, own)

    cache = MaskCache(experiment.settings.cache, experiment.spec, task)
    return cache.fill(examples, find, [making.run for making in makings])


def fit_loras(making: ActiveRun, model: Model, examples: Sequence[Example]) -> Sequence[Example]:
    experiment, task = making.experiment, making.experiment.task
    if not isinstance(task, FitsLora) or (lora := task.lora) is None:
        return examples
    if not isinstance(model, Adaptable):
        raise UserError(
            f"model={experiment.spec.model.name} has no LoRA: use a model of kind "
            "stable_diffusion, as sd15 or shapes, or set task.lora_steps=0"
        )
    shown = task.lora_prompts(examples)

    def fit(missing: Sequence[int], noise: Noise) -> Sequence[Adapter]:
        x = model.encode(images([examples[b] for b in missing]))

        def some(rows: Sequence[int]) -> Sequence[Adapter]:
            own = [shown[missing[row]] for row in rows]
            return model.fit_lora(x[list(rows)], own, lora, noise.of(rows))

        chunks = AdaptiveBatcher(
            experiment, making.attempt.device, "lora"
        )  # gradients take more memory
        return [adapter for part in chunks.map(range(len(x)), some) for adapter in part]

    cache = LoraCache(experiment.settings.cache, experiment.spec, lora)
    return cache.fill(examples, shown, fit)
