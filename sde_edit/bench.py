"""Times the engine: against the bare network, against diffusers, against the device.

One benchmark is one process, one set of weights, one dtype, one device and one number of threads.
The engine is timed on the code path of a run (plan, read, edit, autoencoder, PNG files); loading
the model and the first calls, which compile, are not in its time.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sde_edit.benchmarks import Bench, Diffusers, Network, Setup, Timing, as_json, record_path
from sde_edit.latent import LoadedStableDiffusion
from sde_edit.networks import DTYPES
from sde_edit.runner import (
    Attempt,
    Making,
    ModelCache,
    Plan,
    device_name,
    evaluations,
    execute,
    pick_device,
    plan,
)
from sde_edit.store import RunStore, write_atomic
from sde_edit.tasks.inpaint import Inpaint
from sde_edit.types import DataStatus, Example, UserError

if TYPE_CHECKING:
    from sde_edit.config import Experiment

NETWORK_SECONDS = 3.0  # spent on timing the bare network at one number of rows
MATMUL_SECONDS = 0.5  # spent on timing one size of matrices
MATMUL_SIZES = {"cuda": (4096, 8192, 16384), "cpu": (512, 1024, 2048)}
ONE_BY_ONE = 8  # images of a pass of diffusers' pipeline run image by image, at most
DISTINCT = 16  # synthetic images made; more examples repeat them


def bench(experiment: Experiment, *, images: int = 64, repeats: int = 3) -> Bench:
    """Time one experiment on synthetic examples and store the result in <results>/bench.

    images: per timed pass. repeats: timed passes of every side; medians count.
    Raises UserError for numbers below 1 or a model that is not of Stable Diffusion's kind.
    """
    for name, value in {"images": images, "repeats": repeats}.items():
        if value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")
    if experiment.spec.made_elsewhere:
        raise UserError(f"sampler={experiment.spec.sampler.name}: there is no network to time")
    results = experiment.settings.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=results) as folder:
        measured = _measure(_synthetic(experiment, images, Path(folder)), repeats)
    text = json.dumps(as_json(measured), indent=2, allow_nan=False) + "\n"
    write_atomic(record_path(results, measured), text.encode())
    return measured


def _measure(experiment: Experiment, repeats: int) -> Bench:
    engine = _Engine(experiment)
    warmup = engine.warm_up()
    first = engine.timed()
    memory, memory_of = _peak_memory(engine.device)  # before anything else has run
    theirs = _counterparts(engine)
    passes = _alternate(engine, theirs.sides, first, repeats)
    return Bench(
        setup=_setup(engine),
        wall=Timing(passes["engine"], engine.images),
        evaluations_per_image=engine.evaluations / engine.images,
        calls_per_image=engine.calls / engine.images,
        rows_per_call=engine.rows_per_call,
        warmup_seconds=warmup,
        memory=memory,
        memory_of=memory_of,
        network=_network(engine),
        diffusers=theirs.result(passes),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _alternate(
    engine: _Engine, theirs: Mapping[str, _Pipeline], first: float, repeats: int
) -> dict[str, tuple[float, ...]]:
    """Seconds per image of each side's passes, in turn; `first` is the engine's first pass."""
    passes = {"engine": [first], **{name: [] for name in theirs}}
    for _ in range(repeats):
        for name, side in theirs.items():
            passes[name].append(side.timed())
        if len(passes["engine"]) < repeats:
            passes["engine"].append(engine.timed())
    return {name: tuple(seconds) for name, seconds in passes.items()}


def _setup(engine: _Engine) -> Setup:
    spec, settings = engine.experiment.spec, engine.experiment.settings
    return Setup(
        model=spec.model.name,
        model_digest=spec.model.digest,
        task=spec.task.name,
        sampler=spec.sampler.name,
        steps=spec.steps,
        resolution=engine.experiment.source.resolution,
        dtype=spec.dtype,
        compile=settings.compile,
        batch_size=engine.at_once,
        device=engine.device,
        device_name=_device_name(engine.device),
        memory_format=str(engine.model.layout).removeprefix("torch."),
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in ("sde-edit", "torch", "diffusers")},
    )


def _device_name(device: str) -> str:
    """As runner.device_name; of a CPU on Linux its model, which platform does not tell."""
    file = Path("/proc/cpuinfo")
    if device == "cpu" and file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return device_name(device)


# ------------------------------------------------------------------ synthetic examples


@dataclass(frozen=True)
class Synthetic:
    """Examples held in memory: smooth random images, each with one half hidden."""

    examples: Mapping[str, Example]

    def ids(self) -> Sequence[str]:
        return tuple(self.examples)

    def load(self, example_id: str) -> Example:
        return self.examples[example_id]

    def status(self) -> DataStatus:
        return DataStatus(len(self.examples))

    def digest(self) -> str:
        return "synthetic"


def _synthetic(experiment: Experiment, images: int, folder: Path) -> Experiment:
    """The experiment on synthetic examples, whole, into a throw-away folder."""
    distinct = [_example(i, experiment.source.resolution) for i in range(min(images, DISTINCT))]
    ids = [f"bench-{i:06d}" for i in range(images)]
    examples = {name: replace(distinct[i % DISTINCT], id=name) for i, name in enumerate(ids)}
    settings = replace(
        experiment.settings,
        results=folder,
        cache=folder / "cache",
        limit=None,
        shard=0,
        shards=1,
    )
    return replace(experiment, dataset=Synthetic(examples), settings=settings)


def _example(seed: int, side: int) -> Example:
    """A 4x4 random picture enlarged to side x side; a band of half its height is hidden."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    mask = np.zeros((side, side), np.float32)
    top = int(rng.integers(0, side // 2 + 1))
    mask[top : top + side // 2] = 1
    return Example("", image, "a quiet street", mask, image)


# ------------------------------------------------------------------ the engine


class _Engine:
    """An experiment with its model loaded, run over and over into fresh folders."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.ids = tuple(experiment.dataset.ids())
        self.images = len(self.ids)
        self._models = ModelCache()
        self._passes = 0
        self.device = pick_device(experiment.settings.device)
        model = self._models.get(experiment, self.device)
        if not isinstance(model, LoadedStableDiffusion):
            raise UserError(f"bench knows no bare network of model={experiment.spec.model.name}")
        self.model = model

    def warm_up(self) -> float:
        """Edit one batch of every size a pass has; seconds."""
        sizes = {len(batch): batch for batch in self.batches(self.experiment.settings.batch_size)}
        seconds = self._pass(tuple(sizes.values()))
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        return seconds

    def timed(self) -> float:
        """Seconds per image of one pass over all images; counts evaluations and calls."""
        evaluations, calls = self.model.evaluations, self.model.calls
        seconds = self._pass(None)
        self.evaluations = self.model.evaluations - evaluations
        self.calls = self.model.calls - calls
        return seconds / self.images

    def batches(self, size: int) -> list[tuple[str, ...]]:
        return [self.ids[i : i + size] for i in range(0, self.images, size)]

    @property
    def at_once(self) -> int:
        """Images edited at once: the batch size, or what the runner halved it to for memory."""
        settings = self.experiment.settings
        file = settings.cache / "chunks.json"
        halved = json.loads(file.read_text()).values() if file.exists() else ()
        return min(settings.batch_size, self.images, *halved)

    @property
    def rows_per_call(self) -> int:
        """Rows of one call of the network on a whole batch."""
        batches = self.batches(self.experiment.settings.batch_size)
        chunks = sum(math.ceil(len(batch) / self.at_once) for batch in batches)
        return round(self.at_once * self.evaluations / self.images / (self.calls / chunks))

    def _pass(self, only: tuple[tuple[str, ...], ...] | None) -> float:
        """Run into a new folder and empty it again; seconds without the emptying."""
        experiment, folder = self.experiment, self._folder()

        def run_all() -> None:
            run = RunStore(folder).open(experiment.spec)
            todo = plan(experiment, run)
            if only is not None:
                todo = _part(todo, only)
            cost = evaluations(experiment, sorted(todo.missing))
            with Attempt(experiment, run, todo) as attempt:
                making = Making(experiment, run, todo, cost, attempt, lambda *_: None)
                execute([making], self._models)

        seconds = _seconds(run_all, self.device)
        shutil.rmtree(folder)
        return seconds

    def _folder(self) -> Path:
        self._passes += 1
        return self.experiment.settings.results / str(self._passes)


def _part(todo: Plan, batches: tuple[tuple[str, ...], ...]) -> Plan:
    return replace(todo, batches=batches, missing=frozenset(i for b in batches for i in b))


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


def _seconds(work: Callable[[], object], device: str) -> float:
    """Wall seconds of work, with all that it has set going on the device."""
    _synchronise(device)
    start = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - start


def _peak_memory(device: str) -> tuple[int, str]:
    """Bytes, and of what: the device's tensors on CUDA, else the whole process since its start."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device), "torch.cuda.max_memory_allocated"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, "peak resident set of the process"


# ------------------------------------------------------------------ the bare network


def _network(engine: _Engine) -> Network:
    matmul, size = _matmul_peak(engine.device, DTYPES[engine.experiment.spec.dtype])
    seconds_by_rows = {}
    with torch.inference_mode():
        for rows in _row_counts(engine.rows_per_call, engine.experiment.settings.compile):
            if (seconds := _forward_seconds(engine, rows)) is None:
                break
            seconds_by_rows[rows] = seconds / rows
    return Network(seconds_by_rows, _flops(engine), matmul, size)


def _row_counts(rows_per_call: int, compiled: bool) -> list[int]:
    """Powers of two up to twice the rows of a run's call, and those rows themselves.

    Compiled, every count costs a compilation and torch gives up after eight: three counts then.
    """
    if compiled:
        return sorted({max(1, rows_per_call // 2), rows_per_call, 2 * rows_per_call})
    powers = {2**k for k in range((2 * rows_per_call).bit_length())}
    return sorted(powers | {rows_per_call})


def _forward_seconds(engine: _Engine, rows: int) -> float | None:
    """Seconds of one call; None if the device's memory does not hold it."""
    try:
        forward = _forward(engine, rows, engine.model.unet)
        return _repeated(forward, engine.device, NETWORK_SECONDS)[0]
    except torch.OutOfMemoryError:
        return None


def _forward(engine: _Engine, rows: int, unet: Any) -> Callable[[], Tensor]:
    """A call of the network on random latents, with the text embedded already."""
    model = engine.model
    example = engine.experiment.dataset.load(engine.ids[0])
    latent = model.encode(torch.from_numpy(example.image.copy())[None])
    noise = torch.randn(rows, *latent.shape[1:], generator=torch.Generator().manual_seed(0))
    x = noise.to(model.device, model.dtype).contiguous(memory_format=model.layout)
    t = torch.full((rows,), 500.0, device=model.device)
    text = model.embed([example.caption] * rows)
    return lambda: unet(x, t, text, return_dict=False)[0]


def _repeated(call: Callable[[], object], device: str, budget: float) -> tuple[float, float]:
    """(median, least) seconds of one call, over some groups of calls in about `budget` seconds.

    The device is waited for once a group, as in a run, where calls follow each other.
    """
    _seconds(call, device)  # warm-up
    seconds = [_seconds(call, device)]
    calls = min(50, int(budget / 5 / seconds[0]))

    def group() -> None:
        for _ in range(calls):
            call()

    if calls > 1:
        seconds = [_seconds(group, device) / calls for _ in range(5)]
    elif seconds[0] < budget:
        seconds += [_seconds(call, device) for _ in range(2)]
    return statistics.median(seconds), min(seconds)


def _flops(engine: _Engine) -> int:
    """Floating-point operations of one evaluation; a multiplication and an addition are two.

    Matrix products, convolutions and attention, as FlopCounterMode counts them; of itself it
    overlooks the attention of CPUs.
    """
    cpu_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={cpu_attention: _attention_flops})
    unet = getattr(engine.model.unet, "_orig_mod", engine.model.unet)  # itself if not compiled
    with torch.no_grad():
        forward = _forward(engine, 1, unet)
        with counter:
            forward()
    return int(counter.get_total_flops())


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """From the shapes [B, heads, tokens, D]: the scores, and the values they weigh."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def _matmul_peak(device: str, dtype: torch.dtype) -> tuple[float, int]:
    """(FLOP/s, size) of the fastest product of two square matrices."""
    found = []
    for size in MATMUL_SIZES.get(device.split(":")[0], MATMUL_SIZES["cpu"]):
        a = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        seconds = _repeated(lambda a=a: a @ a, device, MATMUL_SECONDS)[1]  # type: ignore[misc]
        found.append((2 * size**3 / seconds, size))
        if seconds > MATMUL_SECONDS:
            break  # the next size takes eight times as long
    return max(found)


# ------------------------------------------------------------------ diffusers' pipeline


@dataclass(frozen=True)
class _Counterparts:
    """What diffusers has to set against the engine, and why not more."""

    sides: Mapping[str, _Pipeline]
    reason: str = ""

    def result(self, passes: Mapping[str, tuple[float, ...]]) -> Diffusers:
        timings = {name: Timing(passes[name], len(side.ids)) for name, side in self.sides.items()}
        return Diffusers(timings.get("single"), timings.get("batched"), self.reason)


def _counterparts(engine: _Engine) -> _Counterparts:
    """Both ways to use diffusers' pipeline, warmed up, as far as memory holds them."""
    if reason := _no_counterpart(engine.experiment):
        return _Counterparts({}, reason)
    sides = {
        "single": _Pipeline(engine, engine.ids[:ONE_BY_ONE], 1),
        "batched": _Pipeline(engine, engine.ids, engine.at_once),
    }
    fitting = {name: side for name, side in sides.items() if side.warm_up()}
    return _Counterparts(fitting, "" if len(fitting) == len(sides) else "out of memory")


def _no_counterpart(experiment: Experiment) -> str:
    """Why diffusers has nothing that does the same; empty if it has."""
    spec, task = experiment.spec, experiment.task
    if not isinstance(task, Inpaint):
        return f"diffusers has no pipeline for task={spec.task.name}"
    if spec.sampler.kind not in ("ode", "sde", "ode2", "sde2"):
        return f"diffusers has no scheduler for sampler={spec.sampler.name}"
    if task.guidance < 1 and task.guidance != 0:
        return f"diffusers does not guide at task.guidance={task.guidance}"
    return ""


class _Pipeline:
    """diffusers' inpainting pipeline on the engine's components, `at_once` images at a time.

    As a script would use it: pictures in memory, PNG files written as they come.
    """

    def __init__(self, engine: _Engine, ids: Sequence[str], at_once: int) -> None:
        self.ids = ids
        self._engine, self._at_once = engine, at_once
        self._pipe = _inpaint_pipeline(engine)
        self._folder = engine.experiment.settings.results / f"diffusers-{at_once}"
        self._folder.mkdir(exist_ok=True)

    def warm_up(self) -> bool:
        """One batch of every size; False if the device's memory does not hold it."""
        try:
            for batch in {len(batch): batch for batch in self._batches()}.values():
                self._edit(batch)
        except torch.OutOfMemoryError:
            return False
        return True

    def timed(self) -> float:
        """Seconds per image of one pass."""

        def run_all() -> None:
            for batch in self._batches():
                self._edit(batch)

        return _seconds(run_all, self._engine.device) / len(self.ids)

    def _batches(self) -> list[Sequence[str]]:
        n = self._at_once
        return [self.ids[i : i + n] for i in range(0, len(self.ids), n)]

    def _edit(self, batch: Sequence[str]) -> None:
        with torch.inference_mode():
            images = self._pipe(**_pipeline_inputs(self._engine, batch)).images
        for example_id, image in zip(batch, images, strict=True):
            image.save(self._folder / f"{example_id}.png")


def _inpaint_pipeline(engine: _Engine) -> Any:
    from diffusers import StableDiffusionInpaintPipeline

    model = engine.model
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
    """diffusers' scheduler of the sampler, on the model's own noise schedule."""
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
    """The noise schedule as diffusers takes it: betas from alpha_bar."""
    alpha = np.array(experiment.source.schedule().alpha)
    betas = 1 - alpha / np.concatenate([[1.0], alpha[:-1]])
    return {
        "num_train_timesteps": len(alpha),
        "trained_betas": betas.tolist(),
        "steps_offset": 1,  # as our grids
    }


def _pipeline_inputs(engine: _Engine, batch: Sequence[str]) -> dict[str, Any]:
    experiment, task = engine.experiment, engine.experiment.task
    assert isinstance(task, Inpaint)
    examples = [experiment.dataset.load(example_id) for example_id in batch]
    where = "cuda" if engine.device.startswith("cuda") else "cpu"
    return {
        "prompt": [task.prompt.replace("{caption}", e.caption) for e in examples],
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
