"""Train the embedded model `shapes`: VAE, recogniser, text encoder + UNet; then export them.

    python scripts/train_shapes.py all --work results/train-shapes
    python scripts/train_shapes.py vae | decoder | recogniser | unet | export
    python scripts/train_shapes.py unet_on
    python scripts/train_shapes.py classifier

Every stage checkpoints and resumes where it stopped; the data of step k depends on (seed, k)
alone, so an interrupted training sees the same batches as an undisturbed one. `unet_on` trains
finished networks on: those in `--work` if there are any, else the shipped ones, so it needs none of
the earlier stages. `classifier` trains and writes the classifier of noisy latents of
`model=shapes_classifier`, on latents of the same networks. Runs on the CPU (bf16 autocast; about
three hours on two cores) or on a GPU (--device cuda).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sde_edit.imaging.shapes_world import BACKGROUNDS, COLOURS, SHAPES, SPLITS, Scene, make_scene
from sde_edit.networks.noisy_classifier import NoisyClassifierConfig, save_noisy_classifier
from sde_edit.networks.recogniser import ShapesCLIP, ShapesCLIPConfig

SHIPPED = Path("sde_edit/assets/shapes")
CLASSIFIER = Path("sde_edit/assets/shapes_classifier")
SEED = 0
N_TRAIN = 24_000
N_TRAIN_ON = 64_000  # of unet_on
N_VAL = 512
# (steps, peak learning rate) of each cosine cycle; the UNet has warm restarts.
CYCLES = {
    "vae": [(2600, 1.5e-3)],
    "decoder": [(500, 7e-4)],
    "recogniser": [(1500, 2e-3), (900, 1.2e-3)],
    "unet": [(4000, 1e-3), (1900, 7e-4), (7000, 8e-4)],
    "unet_on": [(5000, 7e-4)],
    "classifier": [(1500, 1e-3)],
}
# Two things in one scene are harder than one: from this step of the UNet on, captioned rows hold
# them twice as often as the world does. Every caption says how many things there are and rows
# without a caption stay as the world is, so no conditional distribution moves.
FAVOUR_TWO_THINGS_FROM = 5900
BATCH = {"vae": 24, "decoder": 24, "recogniser": 96, "unet": 64, "unet_on": 64, "classifier": 64}
# Decay of the moving average of the weights. At step k it is at most k / (k + 9), so the average is
# over about the last ninth of a training at most.
EMA = {
    **{"vae": 0.995, "decoder": 0.99, "recogniser": 0.995, "classifier": 0.995},
    **{"unet": 0.999, "unet_on": 0.999},
}
CHECKPOINT_EVERY = 200
MAX_TOKENS = 16  # "a red circle and an orange star on yellow background" is 10 words

# ------------------------------------------------------------------ data


def scenes(split: str, n: int) -> list[Scene]:
    return [make_scene(index) for index in SPLITS[split][:n]]  # type: ignore[index]


def _render(scene: Scene) -> np.ndarray:
    return scene.render()


def images(split: str, n: int, work: Path) -> Tensor:
    """Renders as uint8 [n, 3, 64, 64], cached under `work`."""
    cache = work / f"{split}-{n}.npy"
    if not cache.exists():
        with ProcessPoolExecutor() as pool:
            rendered = list(
                tqdm(pool.map(_render, scenes(split, n), chunksize=64), total=n, desc=split)
            )
        with open(cache.with_suffix(".tmp"), "wb") as file:
            np.save(file, np.stack(rendered).transpose(0, 3, 1, 2))
        os.replace(cache.with_suffix(".tmp"), cache)
    return torch.from_numpy(np.load(cache))


def to_unit(images_u8: Tensor, device: torch.device) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1], channels last."""
    x = images_u8.to(device, torch.float32) / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def captions_of(scene_list: list[Scene], rng: torch.Generator) -> list[str]:
    """Full captions (62 %), partial ones, and empty ones (12 %, for classifier-free guidance)."""
    out = []
    for scene, u in zip(scene_list, torch.rand(len(scene_list), generator=rng), strict=True):
        if u < 0.12:
            out.append("")
        elif u < 0.74:
            out.append(scene.caption())
        elif u < 0.83:
            out.append(scene.caption(background=False))
        elif u < 0.92:
            out.append(scene.caption(colours=False))
        else:
            out.append(scene.caption(colours=False, background=False))
    return out


def apply_merges(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding of one word: again and again the pair that was learnt first."""
    while True:
        pairs = [pair for pair in merges if pair in itertools.pairwise(pieces)]
        if not pairs:
            return pieces
        first = list(itertools.pairwise(pieces)).index(pairs[0])
        pieces = [*pieces[:first], "".join(pairs[0]), *pieces[first + 2 :]]


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIPTokenizer in which every word of the world is one token and any other text is spelt."""
    words = sorted({"a", "an", "and", "on", "background", *SHAPES, *COLOURS, *BACKGROUNDS})
    letters = [chr(c) for c in range(33, 127)]
    tokens: list[str] = letters + [f"{letter}</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = apply_merges([*word[:-1], f"{word[-1]}</w>"], merges)
        while len(pieces) > 1:  # later merges rank lower: they cannot break an earlier word
            merges.append((pieces[0], pieces[1]))
            pieces[:2] = [pieces[0] + pieces[1]]
            tokens.append(pieces[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS
    )
    assert all(len(tokenizer(word).input_ids) == 3 for word in words), "one word, one token"
    return tokenizer


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    encoded = tokenizer(
        captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    ids: Tensor = encoded.input_ids
    return ids


# ------------------------------------------------------------------ models


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=16,
        scaling_factor=1.0,  # set from the data at export
    )


def build_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(96, 128, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,  # diffusers reads this as the number of heads, as in SD 1.5
        norm_num_groups=32,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            projection_dim=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler() -> PNDMScheduler:
    """Stable Diffusion 1.5's own scheduler config, so that times mean the same."""
    return PNDMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )


# ------------------------------------------------------------------ the one training loop


def learning_rates(cycles: list[tuple[int, float]]) -> list[float]:
    """Per step: 100 steps of warm-up, then a cosine down to 1 % of the peak, in each cycle."""
    return [
        peak * min(1.0, (i + 1) / 100) * max(0.01, 0.5 * (1 + math.cos(math.pi * i / steps)))
        for steps, peak in cycles
        for i in range(steps)
    ]


def train(
    name: str,
    model: nn.Module,
    loss_of: Callable[[int, torch.Generator], Tensor],
    validate: Callable[[], str],
    work: Path,
    device: torch.device,
) -> None:
    """Fit `model` through CYCLES[name]; leaves the EMA weights in it and in <name>.safetensors."""
    final = work / f"{name}.safetensors"
    checkpoint = work / f"{name}.checkpoint.pt"
    rates = learning_rates(CYCLES[name])
    steps = len(rates)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=rates[0],
        betas=(0.9, 0.99),
        weight_decay=1e-3,
    )
    ema = {key: value.detach().clone() for key, value in model.state_dict().items()}
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema, start = state["ema"], state["step"]
    bar = tqdm(range(start, steps), initial=start, total=steps, desc=name, smoothing=0.05)
    running = 0.0
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        rng = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        loss = loss_of(step, rng)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        keep = min(EMA[name], (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                ema[key].lerp_(value, 1 - keep)
            else:
                ema[key].copy_(value)
        running = loss.item() if step == start else 0.98 * running + 0.02 * loss.item()
        bar.set_postfix(loss=f"{running:.4f}")
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            temporary = checkpoint.with_suffix(".tmp")
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "ema": ema,
                    "step": step + 1,
                },
                temporary,
            )
            os.replace(temporary, checkpoint)
            live = {key: value.clone() for key, value in model.state_dict().items()}
            model.load_state_dict(ema)
            model.eval()
            with torch.no_grad():
                tqdm.write(f"{name} step {step + 1}: loss {running:.4f}; {validate()}")
            model.train()
            model.load_state_dict(live)
    model.load_state_dict(ema)
    model.eval()
    save_file({k: v.contiguous() for k, v in ema.items()}, final)


def load_final(name: str, model: nn.Module, work: Path) -> nn.Module:
    from safetensors.torch import load_file

    model.load_state_dict(load_file(work / f"{name}.safetensors"))
    return model.eval()


# ------------------------------------------------------------------ stages


def train_vae(work: Path, device: torch.device) -> None:
    data, val = images("train", N_TRAIN, work), images("val", N_VAL, work)
    model = build_vae().to(device, memory_format=torch.channels_last)  # type: ignore[call-arg]

    @torch.compile
    def autoencode(x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        posterior = model.encode(x).latent_dist
        y = model.decode(posterior.mean + posterior.std * noise).sample
        return y, posterior.kl().mean()

    def loss_of(step: int, rng: torch.Generator) -> Tensor:
        x = to_unit(data[torch.randint(len(data), (BATCH["vae"],), generator=rng)], device)
        noise = torch.randn(len(x), 4, 16, 16, generator=rng).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            y, kl = autoencode(x, noise)
        error = y.float() - x
        return error.abs().mean() + 4 * error.square().mean() + 1e-6 * kl

    def validate() -> str:
        return f"PSNR {psnr(model, val, device):.2f} dB"

    train("vae", model, loss_of, validate, work, device)


def psnr(vae: AutoencoderKL, images_u8: Tensor, device: torch.device) -> float:
    """Mean over images of the PSNR in dB of encoding and decoding; range 2 in [-1, 1]."""
    errors = []
    for batch in images_u8.split(64):
        x = to_unit(batch, device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample
        errors.append((y - x).square().mean(dim=(1, 2, 3)) / 4)
    return float((-10 * torch.log10(torch.cat(errors))).mean())


def train_decoder(work: Path, device: torch.device) -> None:
    """Sharpen the decoder on the latents as they are: the UNet's world does not move."""
    data, val = images("train", N_TRAIN, work), images("val", N_VAL, work)
    model = load_final("vae", build_vae(), work).to(device, memory_format=torch.channels_last)  # type: ignore[call-arg]
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    model.train()

    @torch.compile
    def decode(x: Tensor) -> Tensor:
        with torch.no_grad():
            z = model.encode(x).latent_dist.mean
        y: Tensor = model.decode(z).sample
        return y

    def loss_of(step: int, rng: torch.Generator) -> Tensor:
        x = to_unit(data[torch.randint(len(data), (BATCH["decoder"],), generator=rng)], device)
        with torch.autocast(device.type, torch.bfloat16):
            y = decode(x)
        error = y.float() - x
        return 0.2 * error.abs().mean() + 10 * error.square().mean()

    def validate() -> str:
        return f"PSNR {psnr(model, val, device):.2f} dB"

    train("decoder", model, loss_of, validate, work, device)


def match_keys(scene: Scene) -> list[str]:
    """One key per kind of caption; a caption describes another scene if their keys are equal."""
    keys = []
    for colours in (True, False):
        for background in (True, False):
            phrases = sorted(thing.phrase(colours) for thing in scene.things)
            keys.append(" ".join([*phrases, scene.background if background else ""]))
    return keys


def train_recogniser(work: Path, device: torch.device) -> None:
    data, val = images("train", N_TRAIN, work), images("val", N_VAL, work)
    train_scenes, val_scenes = scenes("train", N_TRAIN), scenes("val", N_VAL)
    tokenizer = build_tokenizer(work / "tokenizer")
    model = ShapesCLIP(ShapesCLIPConfig(vocab_size=len(tokenizer), max_tokens=MAX_TOKENS))
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-arg]
    keys = [match_keys(scene) for scene in train_scenes]
    kinds = [(True, True), (True, False), (False, True), (False, False)]

    def loss_of(step: int, rng: torch.Generator) -> Tensor:
        n = BATCH["recogniser"]
        rows = torch.randint(len(data), (n,), generator=rng).tolist()
        x = to_unit(data[rows], device)
        # Robust to what a decoder leaves behind: a little noise, sometimes a blur.
        amount = 0.06 * torch.rand(n, 1, 1, 1, generator=rng)
        x = x + (amount * torch.randn(x.shape, generator=rng)).to(device)
        blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        x = torch.where((torch.rand(n, 1, 1, 1, generator=rng) < 0.25).to(device), blurred, x)
        kind = torch.multinomial(torch.tensor([0.55, 0.15, 0.15, 0.15]), n, True, generator=rng)
        texts = [
            train_scenes[row].caption(colours=kinds[k][0], background=kinds[k][1])
            for row, k in zip(rows, kind.tolist(), strict=True)
        ]
        same = torch.tensor(
            [[keys[r][k] == keys[q][k] for q in rows] for r, k in zip(rows, kind, strict=True)]
        )
        things = torch.zeros(n, len(SHAPES) * len(COLOURS))
        backgrounds = torch.empty(n, dtype=torch.long)
        for i, row in enumerate(rows):
            backgrounds[i] = list(BACKGROUNDS).index(train_scenes[row].background)
            for thing in train_scenes[row].things:
                shape, colour = SHAPES.index(thing.shape), list(COLOURS).index(thing.colour)
                things[i, shape * len(COLOURS) + colour] = 1.0
        with torch.autocast(device.type, torch.bfloat16):
            features = model.image_features(x)
            thing_logits, background_logits = model.attributes(features)
            image = model.embed_image(features)
            text = model.embed_text(tokenize(tokenizer, texts).to(device))
        logits = model.logit_scale.exp() * (text.float() @ image.float().T)  # [text, image]
        targets = same.float().to(device)
        by_text = -(logits.log_softmax(1) * targets / targets.sum(1, keepdim=True)).sum(1).mean()
        by_image = -(logits.log_softmax(0) * targets / targets.sum(0, keepdim=True)).sum(0).mean()
        heads = F.binary_cross_entropy_with_logits(
            thing_logits.float(), things.to(device), reduction="sum"
        ) / n + F.cross_entropy(background_logits.float(), backgrounds.to(device))
        return 0.5 * (by_text + by_image) + heads

    def validate() -> str:
        correct = []
        for start in range(0, N_VAL, 64):
            found = model.recognise(to_unit(val[start : start + 64], device))
            correct += [
                (
                    {t.shape for t in scene.things} == {s for s, _ in things},
                    {t.colour for t in scene.things} == {c for _, c in things},
                    scene.background == background,
                )
                for (things, background), scene in zip(
                    found, val_scenes[start : start + 64], strict=True
                )
            ]
        rates = np.mean(correct, axis=0)
        return "shape {:.3f} colour {:.3f} background {:.3f}".format(*rates)

    train("recogniser", model, loss_of, validate, work, device)


class TextAndUNet(nn.Module):
    """The two networks that learn together from the denoising loss."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        eps: Tensor = self.unet(x_t, t, self.text_encoder(ids).last_hidden_state).sample
        return eps


def finished_vae(work: Path) -> AutoencoderKL:
    """The VAE that was trained in `work`, else the shipped one."""
    if (work / "decoder.safetensors").exists():
        return load_final("decoder", build_vae(), work)
    return AutoencoderKL.from_pretrained(SHIPPED / "vae")


def finished_pair(tokenizer: CLIPTokenizer, work: Path) -> TextAndUNet:
    """Text encoder and UNet of the last stage that is finished in `work`, else the shipped ones."""
    for name in ("unet_on", "unet"):
        if (work / f"{name}.safetensors").exists():
            pair = TextAndUNet(build_text_encoder(tokenizer), build_unet())
            return load_final(name, pair, work)
    return TextAndUNet(
        CLIPTextModel.from_pretrained(SHIPPED / "text_encoder"),
        UNet2DConditionModel.from_pretrained(SHIPPED / "unet"),
    )


def trained_here(work: Path) -> bool:
    """Whether `work` has an encoder of its own; if not, the shipped one makes the latents."""
    return (work / "vae.safetensors").exists()


def posterior_means(split: str, n: int, work: Path, device: torch.device) -> Tensor:
    """[n, 4, 16, 16], cached under `work`."""
    cache = work / f"latents-{split}-{n}.pt"
    if not cache.exists():
        vae = load_final("vae", build_vae(), work) if trained_here(work) else finished_vae(work)
        vae = vae.to(device, memory_format=torch.channels_last)  # type: ignore[call-arg]
        batches: Iterator[Tensor] = iter(images(split, n, work).split(64))
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            means = torch.cat(
                [vae.encode(to_unit(b, device)).latent_dist.mean.float().cpu() for b in batches]
            )
        torch.save(means, cache.with_suffix(".tmp"))
        os.replace(cache.with_suffix(".tmp"), cache)
    return torch.load(cache, weights_only=True)


def latent_scale(work: Path, device: torch.device) -> float:
    """What gives latents unit standard deviation, measured on the training scenes."""
    if not trained_here(work):
        return float(AutoencoderKL.load_config(SHIPPED / "vae")["scaling_factor"])
    return 1 / posterior_means("train", N_TRAIN, work, device).std().item()


def latents(split: str, n: int, work: Path, device: torch.device) -> Tensor:
    """Posterior means [n, 4, 16, 16] of unit standard deviation."""
    return posterior_means(split, n, work, device) * latent_scale(work, device)


def train_unet(name: str, work: Path, device: torch.device) -> None:
    tokenizer = build_tokenizer(work / "tokenizer")
    on = name == "unet_on"
    n = N_TRAIN_ON if on else N_TRAIN
    x0 = latents("train", n, work, device)
    x0_val = latents("val", N_VAL, work, device)
    train_scenes, val_scenes = scenes("train", n), scenes("val", N_VAL)
    n_things = torch.tensor([float(len(scene.things)) for scene in train_scenes])
    torch.manual_seed(SEED)
    model = (
        finished_pair(tokenizer, work)
        if on
        else TextAndUNet(build_text_encoder(tokenizer), build_unet())
    ).to(device)
    forward = torch.compile(model)
    alpha_bar = build_scheduler().alphas_cumprod
    snr = alpha_bar / (1 - alpha_bar)

    def loss_at(x0: Tensor, t: Tensor, noise: Tensor, ids: Tensor) -> Tensor:
        a = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = (a.sqrt() * x0 + (1 - a).sqrt() * noise).to(device)
        # The fused attention kernel's backward is slow at 16 to 64 tokens on a CPU.
        with (
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
            torch.autocast(device.type, torch.bfloat16),
        ):
            eps = forward(x_t, t.to(device), ids.to(device))
        weight = (snr[t].clamp(max=5.0) / snr[t]).to(device)  # min-SNR, gamma 5
        per_row: Tensor = (eps.float() - noise.to(device)).square().mean(dim=(1, 2, 3))
        return (weight * per_row).mean()

    def loss_of(step: int, rng: torch.Generator) -> Tensor:
        rows = torch.randint(n, (BATCH[name],), generator=rng)
        if on:  # one time in each of equal parts of [0, 1000): the loss varies less
            u = torch.rand(1, generator=rng) + torch.arange(len(rows)) / len(rows)
            t = (u % 1 * 1000).long()
        else:
            t = torch.randint(1000, (len(rows),), generator=rng)
        noise = torch.randn(len(rows), 4, 16, 16, generator=rng)
        captioned = rows
        if on or step >= FAVOUR_TWO_THINGS_FROM:
            captioned = torch.multinomial(n_things, len(rows), replacement=True, generator=rng)
        captions = captions_of([train_scenes[row] for row in captioned.tolist()], rng)
        rows = torch.where(torch.tensor([c == "" for c in captions]), rows, captioned)
        return loss_at(x0[rows], t, noise, tokenize(tokenizer, captions))

    def validate() -> str:
        rng = torch.Generator().manual_seed(1)
        losses = []
        for start in range(0, N_VAL, 64):
            t = torch.randint(1000, (64,), generator=rng)
            noise = torch.randn(64, 4, 16, 16, generator=rng)
            texts = [scene.caption() for scene in val_scenes[start : start + 64]]
            part = loss_at(x0_val[start : start + 64], t, noise, tokenize(tokenizer, texts))
            losses.append(part.item())
        return f"validation {np.mean(losses):.5f}"

    train(name, model, loss_of, validate, work, device)


def train_classifier(work: Path, device: torch.device) -> None:
    """The shape of the thing in a noisy scene of one thing, at every time alike."""
    config = NoisyClassifierConfig(
        in_channels=4,
        side=8,
        classes=len(SHAPES),
        unet={
            "layers_per_block": 1,
            "block_out_channels": [64, 96],
            "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
            "attention_head_dim": 32,
            "downsample_type": "resnet",
            "upsample_type": "resnet",
            "resnet_time_scale_shift": "scale_shift",
            "attn_norm_num_groups": 32,
        },
    )
    x0, labels = one_thing("train", N_TRAIN, work, device)
    x0_val, labels_val = one_thing("val", N_VAL, work, device)
    model = config.build().to(device)
    nn.init.normal_(
        model.pool.positional_embedding, std=config.unet["block_out_channels"][-1] ** -0.5
    )
    alpha_bar = build_scheduler().alphas_cumprod

    def logits_at(x0: Tensor, t: Tensor, rng: torch.Generator) -> Tensor:
        a = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=rng)
        with torch.autocast(device.type, torch.bfloat16):
            logits: Tensor = model(x_t.to(device), t.to(device))
        return logits.float()

    def loss_of(step: int, rng: torch.Generator) -> Tensor:
        rows = torch.randint(len(x0), (BATCH["classifier"],), generator=rng)
        t = torch.randint(1000, (len(rows),), generator=rng)
        return F.cross_entropy(logits_at(x0[rows], t, rng), labels[rows].to(device))

    def validate() -> str:
        rng, said = torch.Generator().manual_seed(1), []
        for t in (100, 300, 500, 700):
            found = logits_at(x0_val, torch.full((len(x0_val),), t), rng).argmax(1).cpu()
            said.append(f"t={t}: {(found == labels_val).float().mean():.3f}")
        return "right at " + ", ".join(said)

    train("classifier", model, loss_of, validate, work, device)
    save_noisy_classifier(CLASSIFIER, config, model.half().cpu())


def one_thing(split: str, n: int, work: Path, device: torch.device) -> tuple[Tensor, Tensor]:
    """The latents of scenes of one thing, and the index of its shape."""
    found = scenes(split, n)
    rows = [i for i, scene in enumerate(found) if len(scene.things) == 1]
    shapes = [SHAPES.index(found[i].things[0].shape) for i in rows]
    return latents(split, n, work, device)[rows], torch.tensor(shapes)


def export(work: Path, out: Path) -> None:
    """The standard diffusers folder (float16 safetensors) and the recogniser beside it."""
    tokenizer = build_tokenizer(work / "tokenizer")
    vae = finished_vae(work)
    vae.register_to_config(scaling_factor=round(latent_scale(work, torch.device("cpu")), 5))
    pair = finished_pair(tokenizer, work)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=pair.text_encoder,
        tokenizer=tokenizer,
        unet=pair.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(dtype=torch.float16).save_pretrained(out)
    # transformers loads in the dtype that the config names, diffusers in float32: say float32.
    text_config = out / "text_encoder" / "config.json"
    settings = json.loads(text_config.read_text()) | {"dtype": "float32"}
    text_config.write_text(json.dumps(settings, indent=2) + "\n")
    if (work / "recogniser.safetensors").exists():
        recogniser = ShapesCLIP(ShapesCLIPConfig(vocab_size=len(tokenizer), max_tokens=MAX_TOKENS))
        load_final("recogniser", recogniser, work)
        recogniser.half().save_pretrained(out / "recogniser")


STAGES: dict[str, Callable[[Path, torch.device], None]] = {
    "vae": train_vae,
    "decoder": train_decoder,
    "recogniser": train_recogniser,
    "unet": partial(train_unet, "unet"),
    "unet_on": partial(train_unet, "unet_on"),
    "classifier": train_classifier,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=[*STAGES, "export", "all"])
    parser.add_argument("--work", type=Path, default=Path("results/train-shapes"))
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES.items():
        finished = (args.work / f"{name}.safetensors").exists()
        if args.stage == name or (args.stage == "all" and not finished):
            torch.manual_seed(SEED)
            stage(args.work, torch.device(args.device))
    if args.stage in ("export", "all"):
        export(args.work, args.out)


if __name__ == "__main__":
    main()
