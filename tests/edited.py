"""Finished runs with made-up outputs and scores on real data: what pages show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sde_edit.config import data_set
from sde_edit.report.formats import to_json
from sde_edit.report.table import MINUS, Block, Cell, Column, Row, Table
from sde_edit.store.files import canonical, write_atomic
from sde_edit.store.runs import ImageRecord, Run, output_name, pixels_digest
from tests.builders import add_score, begin_attempt, png

SAMPLERS = ("ode", "sde")
SHIFT = {"ode": 24, "sde": 48}  # grey levels that an output is lighter than its source
GAINS = (2.0, -1.0, 0.0)  # how much higher the PSNR of sde is, in turn


def edited_runs(results: Path, *overrides: str) -> list[Run]:
    """Sealed runs of both samplers: every output is its source, lighter by SHIFT.

    psnr has a value for each example: 20, 21, ... for ode, and more for sde by GAINS in turn.
    shapes_fid has none.
    """
    given = [*overrides, f"paths.results={results}"]
    dataset = data_set(given)[1]
    pixels = {i: dataset.load(i).image for i in dataset.ids()}
    return [_edited(name, pixels, [*given, f"sampler={name}"]) for name in SAMPLERS]


def _edited(sampler: str, sources: dict[str, NDArray[np.uint8]], overrides: Sequence[str]) -> Run:
    run = begin_attempt(overrides)
    rows = [_output(run, i, source, SHIFT[sampler]) for i, source in sources.items()]
    text = "".join(canonical(dataclasses.asdict(row)) + "\n" for row in rows)
    write_atomic(run.row_file("a"), text.encode())
    run.write_seal(list(sources), len(sources))
    gains = [GAINS[k % 3] if sampler == "sde" else 0.0 for k in range(len(sources))]
    values = {i: 20.0 + k + gains[k] for k, i in enumerate(sources)}
    add_score(run, "psnr", sum(values.values()) / len(values), per_example=values)
    add_score(run, "shapes_fid", 4.0)
    return run


def _output(run: Run, example_id: str, source: NDArray[np.uint8], shift: int) -> ImageRecord:
    pixels = (source.astype(int) + shift).clip(0, 255).astype(np.uint8)
    content, file = png(pixels), output_name(example_id)
    write_atomic(run.path / "outputs" / file, content)
    digest = pixels_digest(pixels)
    return ImageRecord(example_id, file, len(content), digest, 0.1, 50.0, "cpu", "float32")


def write_table(results: Path, name: str, runs: Sequence[Run], **changes: object) -> Table:
    """A stored table of one column, with psnr and shapes_fid of both samplers and the difference;
    its second column rests on runs that are not there."""
    blocks = tuple(_block(metric, runs) for metric in ("psnr", "shapes_fid"))
    table = Table(name, f"Table {name}", "steps", (Column("", "25"), Column("", "50")), blocks)
    table = dataclasses.replace(table, **changes)
    write_atomic(results / "tables" / f"{name}.json", to_json(table).encode())
    return table


def _block(metric: str, runs: Sequence[Run]) -> Block:
    scores = [run.scores()[metric] for run in runs]
    here = [
        Cell(s.value, s.low, s.high, s.n, s.n, (run.id,), decimals=2)
        for s, run in zip(scores, runs, strict=True)
    ]
    gone = [dataclasses.replace(cell, runs=("0123456789ab",)) for cell in here]
    rows = [
        Row(name.upper(), "arm", pair)
        for name, pair in zip(SAMPLERS, zip(here, gone, strict=True), strict=True)
    ]
    ode, sde = runs
    gain = scores[1].value - scores[0].value
    difference = Cell(gain, gain - 0.5, gain + 0.5, scores[0].n, scores[0].n, (sde.id, ode.id),
                      "better", decimals=2)  # fmt: skip
    rows.append(Row(f"SDE {MINUS} ODE", "difference", (difference, Cell())))
    return Block(metric, tuple(rows), metric == "psnr", convention=f"{metric} by its convention")
