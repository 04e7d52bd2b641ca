"""LoRAs kept under results/cache by what they were fitted to: all arms of a table share them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from safetensors.torch import load_file, save

from sde_edit.lora import VERSION
from sde_edit.noise import Noise
from sde_edit.store import canonical, write_atomic
from sde_edit.types import Adapter, Example, LoraSettings, RunSpec, UserError

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
