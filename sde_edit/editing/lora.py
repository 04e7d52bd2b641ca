"""The preparation of tasks that edit each image with its own LoRA."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import safetensors.torch

from sde_edit.api.example import Example
from sde_edit.api.model import Adapter, LoraSettings, Model, Scale, SupportsLora
from sde_edit.api.preparation import Preparation
from sde_edit.api.spec import RunSpec
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import images, prompts
from sde_edit.errors import UserError
from sde_edit.networks.lora import VERSION

_PREFIX, _SUFFIX = "unet.", ".weight"  # as diffusers' `load_lora_weights` expects them


@dataclass(frozen=True)
class LoraFit(Preparation):
    """A LoRA for each image, fitted to it under its prompt. `prompt` is a template.

    The results depend on pixels, prompt, model and settings; data set, task and sampler do not
    matter. diffusers' pipelines can load the files.
    """

    prompt: str
    settings: LoraSettings
    name: ClassVar[str] = "lora"
    label: ClassVar[str] = "LoRA"
    suffix: ClassVar[str] = ".safetensors"
    own_chunks: ClassVar[bool] = True  # gradients take more memory

    @property
    def notice(self) -> str:
        steps = self.settings.steps
        return f"first a LoRA of {steps} steps for each image that has none, not counted"

    def check(self, model: Model, spec: RunSpec) -> None:
        if not isinstance(model, SupportsLora):
            raise UserError(
                f"model={spec.model.name} has no LoRA: use model=shapes, sd15, sd2 or sdxl, or "
                "set task.lora_steps=0"
            )

    def basis(self, spec: RunSpec) -> Mapping[str, Any]:
        fields = asdict(spec)
        basis = {"version": VERSION, **asdict(self.settings)}
        return basis | {key: fields[key] for key in ("model", "dtype", "seed")}

    def key(self, example: Example) -> str:
        """A digest of what the LoRA is fitted to: pixels and prompt."""
        (prompt,) = prompts(self.prompt, [example])
        content = hashlib.sha256(example.image.tobytes())
        content.update(f"{example.image.shape}{prompt}".encode())
        return content.hexdigest()[:16]

    def compute(
        self, examples: Sequence[Example], model: Model, grid: Grid, noise: Noise
    ) -> list[bytes]:
        """Raises UserError for a fit that is not finite."""
        assert isinstance(model, SupportsLora)
        x_0 = model.encode(images(examples))
        adapters = model.fit_lora(x_0, prompts(self.prompt, examples), self.settings, noise)
        for example, adapter in zip(examples, adapters, strict=True):
            if not all(weight.isfinite().all() for weight in adapter.values()):
                raise UserError(
                    f"{example.id}: the fit of its LoRA gave NaN or infinity: use a smaller "
                    "task.lora_rate, or a dtype other than float16"
                )
        return [to_safetensors(adapter) for adapter in adapters]

    def read(self, content: bytes, example: Example) -> Adapter:
        return {
            name.removeprefix(_PREFIX).removesuffix(_SUFFIX): weight
            for name, weight in safetensors.torch.load(content).items()
        }


def to_safetensors(adapter: Adapter) -> bytes:
    """The content of a file that diffusers can load."""
    return safetensors.torch.save(
        {f"{_PREFIX}{n}{_SUFFIX}": w.contiguous() for n, w in adapter.items()}
    )


def lora_fits(prompt: str, *, steps: int, rank: int, rate: float) -> tuple[LoraFit, ...]:
    """The preparation for a task's lora_steps, lora_rank and lora_rate; () for 0 steps.

    Raises UserError for a setting out of range.
    """
    for key, value, least in (("steps", steps, 0), ("rank", rank, 1)):
        if value < least:
            raise UserError(f"task.lora_{key}={value}: must be at least {least}")
    if rate <= 0:
        raise UserError(f"task.lora_rate={rate}: must be above 0")
    return (LoraFit(prompt, LoraSettings(rank, rate, steps)),) if steps else ()


def adapted(
    model: Model, adapters: Sequence[Adapter], scale: Scale
) -> AbstractContextManager[None]:
    """Context manager: row r of a call uses adapter r mod B, scaled by scale(t).

    Without adapters the network is left as it is.
    """
    if not adapters:
        return nullcontext()
    assert isinstance(model, SupportsLora)
    return model.adapted(adapters, scale)
