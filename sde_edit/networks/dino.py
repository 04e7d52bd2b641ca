"""Vision transformers that DINO trained (Caron et al. 2021), and the keys of their last layer.

Letters: B images, T tokens (the class token, then patches row by row), C channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sde_edit.networks.checkpoints import checkpoint_folder, require_files
from sde_edit.networks.weight_files import check_tensors, check_whole
from sde_edit.store.digests import file_digest

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer
    from torch import Tensor

SIDE = 224  # of the images
_WEIGHTS = "model.safetensors"
_PER_HEAD = 64  # channels, in all of DINO's networks
_VIT_B_8 = (768, 3, 8, 8)  # what is missing in a file without patches


class Dino:
    """path: a folder with model.safetensors in timm's names, or a hub id. The sizes of the network
    follow from its tensors.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def describe(self) -> str:
        """Path and digest, as text for a convention; weights may be "not fetched"."""
        file = self._known()
        digest = f"sha256 {file_digest(file)[:8]}" if file else "not fetched"
        return f"DINO {self._path}, weights {digest}"

    def _known(self) -> Path | None:
        """The file of the weights, if it is on this machine."""
        from huggingface_hub import try_to_load_from_cache

        if (local := Path(self._path, _WEIGHTS)).is_file():
            return local
        is_hub_id = self._path.count("/") == 1 and not self._path.startswith((".", "/", "~"))
        found = try_to_load_from_cache(self._path, _WEIGHTS) if is_hub_id else None
        return Path(found) if isinstance(found, str) else None

    def fetch(self) -> Path:
        """The file of the weights. Raises UserError with a remedy if it is missing or cut short."""
        file = checkpoint_folder(self._path, [_WEIGHTS], "path") / _WEIGHTS
        require_files([file], f"path={self._path}")
        check_whole(file)
        return file

    def load(self, device: str) -> None:
        """Raises UserError as `fetch` does, and for the tensors of another network."""
        self._network = _network(self.fetch()).to(device)

    def keys(self, x_B3HW: Tensor) -> Tensor:
        """The keys of the last layer [B, T, C], all heads, for normalised images of 224 x 224."""
        seen: list[Tensor] = []
        qkv = self._network.blocks[-1].attn.qkv
        hook = qkv.register_forward_hook(lambda _, __, output: seen.append(output))
        try:
            with torch.inference_mode():
                self._network.forward_features(x_B3HW.to(qkv.weight.device))
        finally:
            hook.remove()
        return seen[0].chunk(3, dim=-1)[1]


def _network(weights: Path) -> VisionTransformer:
    """Raises UserError naming the file unless its tensors are those of a vision transformer."""
    from safetensors.torch import load_file
    from timm.models.vision_transformer import VisionTransformer

    tensors = load_file(weights)
    patches = tensors.get("patch_embed.proj.weight")
    channels, _, side, _ = _VIT_B_8 if patches is None else patches.shape
    layers = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    network = VisionTransformer(
        img_size=SIDE,
        patch_size=side,
        embed_dim=channels,
        depth=len(layers),
        num_heads=max(1, channels // _PER_HEAD),
        num_classes=0,
    )
    check_tensors(network.state_dict(), tensors, weights, "Give those of a ViT that DINO trained")
    network.load_state_dict(tensors)
    return network.eval()
