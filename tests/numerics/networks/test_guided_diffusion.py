"""ADM against a plain implementation of guided-diffusion's layers."""

import math

import pytest
import torch
from torch.nn import functional as F

from sde_edit.models.adm import ADM
from sde_edit.networks.base import alpha_at

UNET, CLASSIFIER = "256x256_diffusion.pt", "256x256_classifier.pt"
LION, TIGER = "n02129165 lion", "n02129604 tiger"
LABELS = torch.tensor([291, 292])
TIMES = torch.tensor([900.0, 20.5], dtype=torch.float64)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


class Plain:
    """Layers of a state dict in guided-diffusion's keys, with heads of 64 channels."""

    def __init__(self, file, width=32):
        weights = torch.load(file, weights_only=True)
        self.weights = {key: tensor.double() for key, tensor in weights.items()}
        self.width = width

    def layer(self, f, name, x, **options):
        return f(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], **options)

    def norm(self, name, x):
        return F.group_norm(x, 32, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def time(self, t):
        half = self.width // 2
        angle = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / half)
        h = torch.cat([angle.cos(), angle.sin()], dim=1).double()
        h = F.silu(self.layer(F.linear, "time_embed.0", h))
        return self.layer(F.linear, "time_embed.2", h)

    def residual(self, name, x, emb, resample=lambda x: x):
        h = resample(F.silu(self.norm(f"{name}.in_layers.0", x)))
        h = self.layer(F.conv2d, f"{name}.in_layers.2", h, padding=1)
        both = self.layer(F.linear, f"{name}.emb_layers.1", F.silu(emb))
        scale, shift = both[:, :, None, None].chunk(2, dim=1)
        h = F.silu(self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift)
        h = self.layer(F.conv2d, f"{name}.out_layers.3", h, padding=1)
        x = resample(x)
        if f"{name}.skip_connection.weight" in self.weights:
            x = self.layer(F.conv2d, f"{name}.skip_connection", x)
        return x + h

    def attention(self, name, x):
        h = self.layer(F.conv1d, f"{name}.qkv", self.norm(f"{name}.norm", x.flatten(2)))
        heads = h.unflatten(1, (-1, 3 * 64))  # heads first, and then q, k, v
        h = attend(*heads.split(64, dim=2)).flatten(1, 2)
        return x + self.layer(F.conv1d, f"{name}.proj_out", h).view_as(x)

    def block(self, name, x, emb, resample=None):
        """Its layers one after the other; `resample` is what the last residual block does."""
        parts = [f"{name}.{i}" for i in range(3)]
        kinds = [part for part in parts if any(key.startswith(part) for key in self.weights)]
        residuals = [part for part in kinds if f"{part}.in_layers.0.weight" in self.weights]
        for part in kinds:
            if part not in residuals:
                x = self.attention(part, x)
            elif resample and part == residuals[-1]:
                x = self.residual(part, x, emb, resample)
            else:
                x = self.residual(part, x, emb)
        return x

    def down(self, x, emb, blocks, downs):
        """All states on the way down."""
        states = [self.layer(F.conv2d, "input_blocks.0.0", x, padding=1)]
        for i in range(1, blocks):
            half = (lambda x: F.avg_pool2d(x, 2)) if i in downs else None
            states.append(self.block(f"input_blocks.{i}", states[-1], emb, half))
        return states

    def unet(self, x, t, label):
        """Three levels of two blocks, with a block between levels."""
        emb = self.time(t) + self.weights["label_emb.weight"][label]
        states = self.down(x, emb, blocks=9, downs={3, 6})
        h = self.block("middle_block", states[-1], emb)
        for i in range(9):
            twice = (lambda x: F.interpolate(x, scale_factor=2)) if i in {2, 5} else None
            h = torch.cat([h, states.pop()], dim=1)
            h = self.block(f"output_blocks.{i}", h, emb, twice)
        return self.layer(F.conv2d, "out.2", F.silu(self.norm("out.0", h)), padding=1)

    def log_p(self, x, t, label):
        """Two levels of one block, with a block between levels."""
        emb = self.time(t)
        h = self.block("middle_block", self.down(x, emb, blocks=4, downs={2})[-1], emb)
        h = F.silu(self.norm("out.0", h)).flatten(2)
        h = torch.cat([h.mean(2, keepdim=True), h], 2) + self.weights["out.2.positional_embedding"]
        qkv = self.layer(F.conv1d, "out.2.qkv_proj", h).chunk(3, dim=1)  # q, k, v, and then heads
        h = attend(*(part.unflatten(1, (-1, 64)) for part in qkv)).flatten(1, 2)
        logits = self.layer(F.conv1d, "out.2.c_proj", h)[:, :, 0]
        return logits.log_softmax(1)[torch.arange(len(x)), label]


def attend(q, k, v):
    """Each [B, heads, channels, L]."""
    weight = torch.einsum("bhct,bhcs->bhts", q, k) / q.shape[2] ** 0.5
    return torch.einsum("bhts,bhcs->bhct", weight.softmax(-1), v)


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)


def eps(folder, x, guidance, dtype="float64"):
    model = ADM(str(folder), 16).load("cpu", dtype)
    with torch.inference_mode():
        return model.denoiser([LION, TIGER], guidance)(x, TIMES)


def test_the_unet_is_guided_diffusions(tiny_adm, x):
    expected = Plain(tiny_adm / UNET).unet(x, TIMES, LABELS)[:, :3]
    assert 0.1 < expected.std() < 10
    torch.testing.assert_close(eps(tiny_adm, x, 0), expected, **EXACT)


def test_guidance_adds_the_gradient_of_guided_diffusions_classifier(tiny_adm, x):
    given = x.clone().requires_grad_()
    log_p = Plain(tiny_adm / CLASSIFIER).log_p(given, TIMES, LABELS)
    (gradient,) = torch.autograd.grad(log_p.sum(), given)
    assert gradient.abs().mean() > 1e-4
    table = torch.tensor(ADM(str(tiny_adm), 16).schedule().alpha, dtype=torch.float64)
    expected = eps(tiny_adm, x, 0) - 2.5 * (1 - alpha_at(table, TIMES)).sqrt() * gradient
    torch.testing.assert_close(eps(tiny_adm, x, 2.5), expected, **EXACT)


def test_the_gradient_is_that_of_finite_differences(tiny_adm, x):
    model, plain = ADM(str(tiny_adm), 16).load("cpu", "float64"), Plain(tiny_adm / CLASSIFIER)
    with torch.inference_mode():
        gradient = model._grad_log_p(x, TIMES, LABELS)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    up, down = (plain.log_p(x + h * way, TIMES, LABELS) for h in (1e-5, -1e-5))
    slope = (gradient * way).flatten(1).sum(1)
    torch.testing.assert_close((up - down) / 2e-5, slope, rtol=1e-6, atol=1e-8)
