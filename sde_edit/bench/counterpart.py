"""Times diffusers' own pipelines on the same work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from sde_edit.bench.engine import TimedEngine, wall_seconds
from sde_edit.bench.result import Diffusers, Timing
from sde_edit.editing.batch import prompts
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from sde_edit.store.runs import batched
from sde_edit.tasks.inpaint import Inpaint

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

_SPACINGS = ("linspace", "leading", "trailing")  # of diffusers' `timestep_spacing`
ONE_BY_ONE = 8  # most images per pass if diffusers' pipeline runs image by image


# ------------------------------------------------------------------ diffusers' pipeline
@dataclass(frozen=True)
class Counterparts:
    """diffusers' pipelines that can be compared with the engine, and why others are missing."""

    sides: Mapping[str, DiffusersPipeline]
    reason: str = ""

    def result(self, passes: Mapping[str, tuple[float, ...]]) -> Diffusers:
        timings = {name: Timing(passes[name], len(side.ids)) for name, side in self.sides.items()}
        return Diffusers(timings.get("single"), timings.get("batched"), self.reason)


def find_counterparts(engine: TimedEngine) -> Counterparts:
    """diffusers' pipeline, image by image and batched, warmed up, if memory allows."""
    if reason := _no_counterpart(engine.experiment):
        return Counterparts({}, reason)
    sides = {
        "single": DiffusersPipeline(engine, engine.ids[:ONE_BY_ONE], 1),
        "batched": DiffusersPipeline(engine, engine.ids, engine.at_once),
    }
    fitting = {name: side for name, side in sides.items() if side.warm_up()}
    return Counterparts(fitting, "" if len(fitting) == len(sides) else "out of memory")


def _no_counterpart(experiment: Experiment) -> str:
    """Why diffusers has no equivalent; "" if it has one."""
    spec, task = experiment.spec, experiment.task
    if not isinstance(task, Inpaint):
        return f"diffusers has no pipeline for task={spec.task.name}"
    if spec.model.kind != "stable_diffusion":
        return f"compared for models of kind stable_diffusion, not for model={spec.model.name}"
    if spec.sampler.kind not in ("ode", "sde", "ode2", "sde2"):
        return f"diffusers has no scheduler for sampler={spec.sampler.name}"
    if spec.spacing not in _SPACINGS:
        return f"diffusers has no grid.spacing={spec.spacing}"
    if task.guidance < 1 and task.guidance != 0:
        return f"diffusers does not guide at task.guidance={task.guidance}"
    return ""


class DiffusersPipeline:
    """diffusers' inpainting pipeline with the engine's networks, `at_once` images at a time.

    It is used as in a script: pictures are in memory, PNG files are written one after another.
    """

    def __init__(self, engine: TimedEngine, ids: Sequence[str], at_once: int) -> None:
        self.ids = ids
        self._engine, self._at_once = engine, at_once
        self._pipe = _inpaint_pipeline(engine)
        self._folder = engine.experiment.settings.results / f"diffusers-{at_once}"
        self._folder.mkdir(exist_ok=True)

    def warm_up(self) -> bool:
        """Edit one batch of each size; False if the device's memory is too small."""
        try:
            for batch in {len(batch): batch for batch in batched(self.ids, self._at_once)}.values():
                self._edit(batch)
        except torch.OutOfMemoryError:
            return False
        return True

    def timed(self) -> float:
        """Seconds per image of one pass."""

        def run_all() -> None:
            for batch in batched(self.ids, self._at_once):
                self._edit(batch)

        return wall_seconds(run_all, self._engine.device) / len(self.ids)

    def _edit(self, batch: Sequence[str]) -> None:
        with torch.inference_mode():
            images = self._pipe(**_pipeline_inputs(self._engine, batch)).images
        for example_id, image in zip(batch, images, strict=True):
            image.save(self._folder / f"{example_id}.png")


def _inpaint_pipeline(engine: TimedEngine) -> Any:
    from diffusers import StableDiffusionInpaintPipeline

    model = engine.model
    assert isinstance(model, LoadedStableDiffusion)
    pipe = StableDiffusionInpaintPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=_scheduler(engine.experiment),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _scheduler(experiment: Experiment) -> Any:
    """diffusers' scheduler for the sampler, with the model's own noise schedule."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    spec, trained = experiment.spec, _trained_alphas(experiment)
    if not spec.sampler.kind.endswith("2"):
        return DDIMScheduler(
            **trained,
            clip_sample=False,
            set_alpha_to_one=spec.last_sigma == "zero",
            timestep_spacing=spec.spacing,
        )
    return DPMSolverMultistepScheduler(
        **trained,
        algorithm_type="sde-dpmsolver++" if spec.sampler.kind == "sde2" else "dpmsolver++",
        solver_order=2,
        timestep_spacing=spec.spacing,
        final_sigmas_type=spec.last_sigma,
    )


def _trained_alphas(experiment: Experiment) -> dict[str, Any]:
    """The noise schedule as diffusers expects it: betas computed from alpha_bar."""
    alpha = np.array(experiment.source.schedule().alpha)
    betas = 1 - alpha / np.concatenate([[1.0], alpha[:-1]])
    return {
        "num_train_timesteps": len(alpha),
        "trained_betas": betas.tolist(),
        "steps_offset": 1,  # as in our grids
    }


def _pipeline_inputs(engine: TimedEngine, batch: Sequence[str]) -> dict[str, Any]:
    experiment, task = engine.experiment, engine.experiment.task
    assert isinstance(task, Inpaint)
    examples = [experiment.dataset.load(example_id) for example_id in batch]
    where = "cuda" if engine.device.startswith("cuda") else "cpu"
    return {
        "prompt": prompts(task.prompt, examples),
        "negative_prompt": [task.negative_prompt] * len(batch),
        "image": [Image.fromarray(e.image) for e in examples],
        "mask_image": [Image.fromarray(np.uint8(np.asarray(e.mask) * 255)) for e in examples],
        "height": experiment.source.resolution,
        "width": experiment.source.resolution,
        "num_inference_steps": experiment.spec.steps,
        "guidance_scale": task.guidance,
        "eta": 1.0 if experiment.spec.sampler.kind == "sde" else 0.0,
        "generator": [torch.Generator(where).manual_seed(i) for i in range(len(batch))],
    }
