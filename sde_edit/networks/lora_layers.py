"""The layers of a UNet that take the LoRA of each row of a call (Hu et al. 2022).

Letters in tensor names and the code's A, B and scale: as in `lora`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sde_edit.networks.lora import A, B, Rows

_TARGETS = (".to_q", ".to_k", ".to_v", ".to_out.0")


class LoraLinear(nn.Module):
    """A linear map W x; while `lora` is (A, B, scale), W x + scale B A x."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.lora: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x_RPi: Tensor) -> Tensor:
        """[R, P, i] -> [R, P, o]; each row has an A, a B and a scale of its own."""
        out: Tensor = self.linear(x_RPi)
        if self.lora is None:
            return out
        A_Rir, B_Rro, scale_R11 = self.lora
        return (out + x_RPi.to(A_Rir.dtype) @ A_Rir @ B_Rro * scale_R11).to(out.dtype)


class LoraUNet(nn.Module):
    """A diffusers UNet whose attention projections get the LoRA of each row from the call.

    A and B are inputs, not parameters, so that a compiled network serves every image. Without them
    the UNet gives the same bits as before.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        linears = {n: m for n, m in unet.named_modules() if n.endswith(_TARGETS)}
        self._layers = {name: LoraLinear(linear) for name, linear in linears.items()}
        for name, layer in self._layers.items():
            unet.set_submodule(name, layer)
        self.unet = unet

    def sizes(self, rank: int) -> dict[str, tuple[int, int]]:
        """Name of a weight -> its (o, i)."""
        sizes = {}
        for name, layer in self._layers.items():
            sizes[f"{name}.{A}"] = (rank, layer.linear.in_features)
            sizes[f"{name}.{B}"] = (layer.linear.out_features, rank)
        return sizes

    def forward(self, rows: Rows, scale_R: Tensor, *given: Any, **named: Any) -> Any:
        """What the UNet returns for `given` and `named`, with LoRA and scale of each row."""
        with self._attached(rows, scale_R.view(-1, 1, 1)):
            return self.unet(*given, **named)

    @contextmanager
    def _attached(self, rows: Rows, scale_R11: Tensor) -> Iterator[None]:
        for name, layer in self._layers.items():
            layer.lora = rows[f"{name}.{A}"], rows[f"{name}.{B}"], scale_R11
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.lora = None
