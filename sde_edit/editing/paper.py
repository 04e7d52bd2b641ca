"""The paper that this project reproduces; docstrings call it "the paper"."""

from __future__ import annotations

from sde_edit.api.citation import Citation

PAPER = Citation(
    key="nie2024sde",
    authors="Nie, Shen and Guo, Hanzhong Allan and Lu, Cheng and Zhou, Yuhao and Zheng, Chenyu and "
    "Li, Chongxuan",
    title="The Blessing of Randomness: SDE Beats ODE in General Diffusion-based Image Editing",
    venue="ICLR",
    year=2024,
    arxiv="2311.01410",
)
