"""The embedded recogniser: a small model like CLIP, for scores that need no downloads.

An image tower (convolutions, for features at several depths) and a text tower (CLIPTextModel)
trained together on the shapes world, with two heads that name the content of an image. It is
trained independently of the diffusion model whose images it judges.

Letters: B batch, C channels, H height, W width, K tokens, D embedding size.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import BACKGROUNDS, COLOURS, SHAPES
from sde_edit.networks.checkpoints import read_config
from sde_edit.networks.weight_files import check_tensors, check_whole, reason_of

Seen = tuple[set[tuple[str, str]], str]  # {(shape, colour), ...}, background


@dataclass(frozen=True)
class ShapesCLIPConfig:
    """Sizes of the two towers.

    channels: of each stage of the image tower. max_tokens: the length of padded captions.
    """

    vocab_size: int
    max_tokens: int
    channels: tuple[int, ...] = (32, 64, 128, 192)
    embedding: int = 128
    text_width: int = 96
    text_layers: int = 2


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection; stride 2 halves the resolution."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, stride, 1)
        self.second = nn.Conv2d(channels_out, channels_out, 3, 1, 1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1, stride)
        self.norm = nn.GroupNorm(8, channels_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h = F.silu(self.norm(self.first(x_BCHW)))
        return F.silu(self.skip(x_BCHW) + self.second(h))


class ShapesCLIP(nn.Module):
    """Image and text towers with a shared unit sphere, and heads for things and background."""

    def __init__(self, config: ShapesCLIPConfig) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        self.config = config
        self.stem = nn.Conv2d(3, config.channels[0], 3, 2, 1)
        sizes = (config.channels[0], *config.channels)
        self.stages = nn.ModuleList(
            Residual(i, o, stride=1 if n == 0 else 2)
            for n, (i, o) in enumerate(itertools.pairwise(sizes))
        )
        width = config.channels[-1]
        self.image_projection = nn.Linear(width, config.embedding, bias=False)
        # Things are detected at every position; a soft maximum over positions pools the logits.
        last = nn.Conv2d(width, len(SHAPES) * len(COLOURS), 1)
        # sigmoid(-6) is about 1 / (48 * 16): one of 48 kinds of things in one of 16 places.
        last.bias = nn.Parameter(torch.full((last.out_channels,), -6.0))
        self.things = nn.Sequential(nn.Conv2d(width, width, 1), nn.SiLU(), last)
        self.background = nn.Linear(width, len(BACKGROUNDS))
        self.text = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.text_width,
                intermediate_size=4 * config.text_width,
                projection_dim=config.embedding,
                num_hidden_layers=config.text_layers,
                num_attention_heads=4,
                max_position_embeddings=config.max_tokens,
                bos_token_id=config.vocab_size - 2,
                eos_token_id=config.vocab_size - 1,
                pad_token_id=config.vocab_size - 1,
            )
        )
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def image_features(self, x_BCHW: Tensor) -> list[Tensor]:
        """Feature maps after each stage, at 1/2, 1/4, 1/8 and 1/16 of the size; x in [-1, 1]."""
        maps, h = [], self.stem(x_BCHW)
        for stage in self.stages:
            h = stage(h)
            maps.append(h)
        return maps

    def attributes(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of (shape, colour) pairs [B, 48] and of backgrounds [B, 8]."""
        last = features[-1]
        return self.things(last).logsumexp(dim=(2, 3)), self.background(last.mean(dim=(2, 3)))

    def embed_image(self, features: list[Tensor]) -> Tensor:
        """Unit vectors [B, D]."""
        return F.normalize(self.image_projection(features[-1].mean(dim=(2, 3))), dim=-1)

    def embed_text(self, ids_BK: Tensor) -> Tensor:
        """Unit vectors [B, D]."""
        return F.normalize(self.text(ids_BK).text_embeds, dim=-1)

    def recognise(self, x_BCHW: Tensor) -> list[Seen]:
        """The content of each image; x in [-1, 1]."""
        return self.named(self.image_features(x_BCHW))

    def named(self, features: list[Tensor]) -> list[Seen]:
        """The content of each image, from its feature maps."""
        things, background = self.attributes(features)
        colours, backgrounds = list(COLOURS), list(BACKGROUNDS)
        return [
            (
                {(SHAPES[k // len(colours)], colours[k % len(colours)]) for k in present},
                backgrounds[int(which)],
            )
            for present, which in zip(
                [row.nonzero().flatten().tolist() for row in things > 0],
                background.argmax(-1),
                strict=True,
            )
        ]

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        save_file(self.state_dict(), folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: Path) -> ShapesCLIP:
        """Load in float32. Raises UserError if files are missing or damaged, or if the weights are
        not those of the config's network.
        """
        config, weights = read_config(folder / "config.json"), folder / "model.safetensors"
        check_whole(weights)
        try:
            model = cls(ShapesCLIPConfig(**(config | {"channels": tuple(config["channels"])})))
        except (RuntimeError, TypeError, KeyError) as error:
            raise UserError(
                f"{folder / 'config.json'} is no config of a recogniser ({reason_of(error)}). "
                f"{_REINSTALL}"
            ) from error
        tensors = load_file(weights)
        check_tensors(model.state_dict(), tensors, weights, _REINSTALL)
        model.load_state_dict(tensors)
        return model.eval()


_REINSTALL = "Reinstall sde-edit, or train the recogniser with scripts/train_shapes.py"
