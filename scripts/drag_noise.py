"""Why does SDE-Drag fall behind ODE-Drag? Variants of its noise on the embedded scenes.

    python scripts/drag_noise.py [--scenes 64] [--steps 25] [--split val] [--dtype float32]
        [--device cpu]

Without guidance and LoRA, r = 3. Hypotheses, each of which should bring SDE-Drag to ODE-Drag:

carried    Cycle-SDE's noise w' belongs to the content: where a square of x_t0 is copied, its w'
           should be copied too, at every time. (As it is, a target is decoded with the w' of what
           it covers.)
shared     The noise adds up over drag steps: each draws the noise of x_t0 anew, and with it the
           details. With one and the same noise in all of them they should stay.
published  The conventions of the published code (task.convention=published).

Prints a table: the mean of each score, and the paired difference to plain SDE-Drag with its 95 %
interval (normal).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import images
from sde_edit.editing.moves import Move, MovePlan, apply_moves
from sde_edit.engine.attempt import pick_device
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build

R, T_0, ALPHA, BETA = 3, 0.6, 1.1, 0.3


@dataclass(frozen=True)
class Setting:
    examples: Sequence[Example]
    model: Model
    grid: Grid
    noise: Noise


def dragged(at: Setting, sampler: str, *, carried: bool = False, shared: bool = False) -> Tensor:
    """The loop of task=drag, with the noise of a variant: uint8 [B, H, W, 3]."""
    method, model, grid = build("samplers", sampler, {}), at.model, at.grid.truncated(T_0)
    x = model.encode(images(at.examples))
    plan = MovePlan(R, None, None, in_sequence=False)
    native, size = model.latent_shape[1:], (x.shape[2], x.shape[3])
    plans = [plan.steps(example, size, native) for example in at.examples]
    for j in range(max(map(len, plans))):
        rows = [b for b, steps in enumerate(plans) if j < len(steps)]
        own, moves = at.noise.of(rows), [plans[b][j] for b in rows]
        own = own.within("drag 0" if shared else f"drag {j}")
        eps = model.denoiser([at.examples[b].caption for b in rows], 1.0)
        inversion = method.encode(eps, x[rows], grid, own)
        fresh = own.like(inversion.latent, "source")
        start = apply_moves(inversion.latent, moves, fresh, alpha=ALPHA, beta=BETA)
        if carried:
            inversion = with_content(inversion, moves)
        x[rows] = method.decode(eps, start, grid, own, inversion=inversion).to(x)
    return model.decode(x)


def with_content(inversion: Inversion, moves: Sequence[Sequence[Move]]) -> Inversion:
    """At every time T holds the states and the eps of S, and so the w' that they determine."""
    return Inversion(
        copied(inversion.states, moves), tuple(copied(e, moves) for e in inversion.extra)
    )


def copied(x_NBCHW: Tensor, moves: Sequence[Sequence[Move]]) -> Tensor:
    out = x_NBCHW.clone()
    for b, own in enumerate(moves):
        for S, T in own:
            out[(slice(None), b, slice(None), *T)] = x_NBCHW[(slice(None), b, slice(None), *S)]
    return out


def published(at: Setting, sampler: str) -> Tensor:
    settings = {"prompt": "{caption}", "r": R, "t_0": T_0, "alpha": ALPHA, "beta": BETA}
    task = build(
        "tasks",
        "drag",
        settings | {"guidance": 1.0, "lora_steps": 0, "convention": "published"},
    )
    edited: Tensor = task.edit(
        at.examples, at.model, build("samplers", sampler, {}), at.grid, at.noise
    )
    return edited


VARIANTS: dict[str, Callable[[Setting], Tensor]] = {
    "SDE-Drag": lambda at: dragged(at, "sde"),
    "ODE-Drag": lambda at: dragged(at, "ode"),
    "SDE-Drag, w' carried": lambda at: dragged(at, "sde", carried=True),
    "SDE-Drag, noise shared": lambda at: dragged(at, "sde", shared=True),
    "SDE-Drag, both": lambda at: dragged(at, "sde", carried=True, shared=True),
    "SDE-Drag, published": lambda at: published(at, "sde"),
    "ODE-Drag, published": lambda at: published(at, "ode"),
}
SCORES = ("arrived", "left behind", "PSNR, dB")


def scores(outputs: Tensor, examples: Sequence[Example]) -> np.ndarray:
    """[B, 3]: SCORES of each image."""
    places = [build("metrics", "dragged", {"place": place}) for place in ("target", "source")]
    shares = [metric.measure(outputs, examples)[:, 0].numpy() for metric in places]
    truths = np.stack([example.truth for example in examples]).astype(float)
    squared = ((outputs.numpy() - truths) / 255) ** 2
    return np.stack([*shares, -10 * np.log10(squared.mean((1, 2, 3)))], axis=-1)


def setting(scenes: int, steps: int, split: str, dtype: str, device: str) -> Setting:
    data = build("datasets", "shapes_drags", {"split": split, "n": scenes})
    source = StableDiffusion("embedded:shapes", 64)
    examples = [data.load(example_id) for example_id in data.ids()]
    noise = Noise(0, tuple(example.id for example in examples))
    model = source.load(pick_device(device), dtype)
    return Setting(examples, model, source.schedule().grid(steps), noise)


def row(name: str, found: np.ndarray, plain: np.ndarray) -> str:
    cells = []
    for values, others in zip(found.T, plain.T, strict=True):
        difference, n = values - others, len(values)
        half = 1.96 * difference.std(ddof=1) / n**0.5
        cells.append(f"{values.mean():.3f} | {difference.mean():+.3f} ± {half:.3f}")
    return f"| {name} | {' | '.join(cells)} |"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    given = parser.parse_args()
    at = setting(given.scenes, given.steps, given.split, given.dtype, given.device)
    print("| | " + " | ".join(f"{score} | to SDE-Drag" for score in SCORES) + " |")
    print("|" + "---|" * (1 + 2 * len(SCORES)))
    plain = scores(VARIANTS["SDE-Drag"](at), at.examples)
    for name in given.variants:
        found = plain if name == "SDE-Drag" else scores(VARIANTS[name](at), at.examples)
        print(row(name, found, plain), flush=True)


if __name__ == "__main__":
    main()
