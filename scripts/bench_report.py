"""How long does a large report take to write, and to open from the disk?

    python scripts/bench_report.py [--tables 40] [--runs 100] [--examples 1000] [--folder DIR]

Makes up a store: runs on the embedded scenes whose outputs are the scenes with noise, with made-up
scores of eight metrics, and tables of their cells. Writes its report twice, the second time with
everything there, and opens pages in Chromium. Prints one line for each figure.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from sde_edit.api.metric import Score
from sde_edit.api.spec import RunSpec
from sde_edit.config import data_set, experiment
from sde_edit.imaging.files import png_bytes
from sde_edit.report.formats import to_json
from sde_edit.report.table import MINUS, Block, Cell, Column, Row, Table
from sde_edit.store.files import canonical
from sde_edit.store.runs import (
    AttemptRecord,
    ImageRecord,
    Run,
    RunStore,
    output_name,
    pixels_digest,
    write_score,
)
from sde_edit.web.report.write import write_report

METRICS = {
    **{"psnr": True, "ssim": True, "attributes": True, "shapes_clip": True},
    **{"shapes_lpips": False, "truth_error": False, "source_l2": False, "known_error": False},
}
SAMPLERS = ("ode", "sde")
COLUMNS = 5  # of a table
CHROMIUM = "/usr/bin/chromium"


# ------------------------------------------------------------------ a store
def specs(overrides: Sequence[str], runs: int) -> list[RunSpec]:
    """The specs of so many runs, in pairs that differ in the sampler alone."""
    bases = [experiment([*overrides, f"sampler={name}"]).spec for name in SAMPLERS]
    pairs = product(range(10, 10 + runs), bases)
    return [dataclasses.replace(base, steps=steps) for steps, base in islice(pairs, runs)]


def fill(run: Run, sources: Mapping[str, Image.Image], overrides: Sequence[str]) -> None:
    """Images, scores and a seal. sources: id -> what its output is made of."""
    rng = np.random.default_rng(int(run.id, 16))
    for name in ("outputs", "rows", "attempts", "metrics"):
        (run.path / name).mkdir()
    rows = [_output(run, i, source, rng) for i, source in sources.items()]
    lines = "".join(f"{canonical(dataclasses.asdict(row))}\n" for row in rows)
    run.row_file("a").write_text(lines)
    run.attempt_file("a").write_text(AttemptRecord("a", list(overrides)).to_json())
    run.write_seal(list(sources), len(sources))
    for metric in METRICS:
        write_score(run.score_file(metric, 1, {}), _score(run, metric, list(sources), rng))


def _output(
    run: Run, example_id: str, source: Image.Image, rng: np.random.Generator
) -> ImageRecord:
    noise = rng.integers(-8, 9, (source.height, source.width, 1))
    pixels = (np.asarray(source).astype(int) + noise).clip(0, 255).astype(np.uint8)
    content, file = png_bytes(Image.fromarray(pixels)), output_name(example_id)
    (run.path / "outputs" / file).write_bytes(content)
    digest = pixels_digest(pixels)
    return ImageRecord(example_id, file, len(content), digest, 0.1, 50.0, "cpu", "float32", 25)


def _score(run: Run, metric: str, ids: Sequence[str], rng: np.random.Generator) -> Score:
    values_N = rng.normal(20, 4, len(ids))
    value, half = float(values_N.mean()), 8 / len(ids) ** 0.5
    seal = run.seal
    assert seal
    return Score(
        metric, metric, 1, {}, f"{metric}, made up", METRICS[metric], seal.digest,
        value, value - half, value + half, len(ids),
        replicates=(value + rng.normal(0, half / 2, 1000)).tolist(),
        per_example=dict(zip(ids, values_N.tolist(), strict=True)),
    )  # fmt: skip


def table_of(name: str, runs: Sequence[Run], scores: Mapping[str, Mapping[str, Score]]) -> Table:
    """A table of pairs of runs: a column for each pair, a block for each metric."""
    pairs = [(runs[i], runs[i + 1]) for i in range(0, len(runs), 2)]
    blocks = tuple(_block(metric, pairs, scores) for metric in METRICS)
    columns = tuple(Column("", str(a.spec.steps)) for a, _ in pairs)
    return Table(name, f"Table {name}", "steps", columns, blocks)


def _block(
    metric: str, pairs: Sequence[tuple[Run, Run]], scores: Mapping[str, Mapping[str, Score]]
) -> Block:
    arms = [
        tuple(_cell(run, scores[run.id][metric]) for run in arm) for arm in zip(*pairs, strict=True)
    ]
    differences = tuple(
        Cell(b.value - a.value, -1.0, 1.0, a.n, a.of, (*b.runs, *a.runs), "undecided")
        for a, b in zip(*arms, strict=True)
        if a.value is not None and b.value is not None
    )
    rows = [Row(name.upper(), "arm", cells) for name, cells in zip(SAMPLERS, arms, strict=True)]
    rows.append(Row(f"SDE {MINUS} ODE", "difference", differences))
    return Block(metric, tuple(rows), METRICS[metric], convention=f"{metric}, made up")


def _cell(run: Run, score: Score) -> Cell:
    return Cell(score.value, score.low, score.high, score.n, score.n, (run.id,))


def make_store(results: Path, *, tables: int, runs: int, examples: int, side: int) -> None:
    """Runs and tables. side: of an output, in pixels."""
    overrides = ["task=inpaint", f"data.n={examples}"]
    dataset = data_set(overrides)[1]
    images = {i: Image.fromarray(dataset.load(i).image) for i in dataset.ids()}
    sources = {i: image.resize((side, side)) for i, image in images.items()}
    store = RunStore(results)
    made = [store.open(spec) for spec in specs(overrides, runs)]
    for run in made:
        fill(run, sources, [*overrides, f"sampler={run.spec.sampler.name}"])
    scores = {run.id: run.scores() for run in made}
    (results / "tables").mkdir()
    for k in range(tables):
        start = 2 * k % max(1, runs - 2 * COLUMNS + 1)
        table = table_of(f"made{k:02d}", made[start : start + 2 * COLUMNS], scores)
        (results / "tables" / f"{table.name}.json").write_text(to_json(table))


# ------------------------------------------------------------------ what is measured
@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:.2f} s", flush=True)


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


# Scrolls through the whole list and returns the gaps between frames, in ms.
_SCROLL = """async () => {
  const gaps = [];
  let last = performance.now();
  for (let frame = 0; frame < 240; frame += 1) {
    scrollBy(0, 400);
    await new Promise(requestAnimationFrame);
    gaps.push(performance.now() - last);
    last = performance.now();
  }
  return gaps;
}"""


def open_pages(folder: Path) -> None:
    """Times of pages from the disk, until their last text is there."""
    with chromium() as page:
        page.goto("about:blank")
        with timed("index.html opens in"):
            page.goto(f"file://{folder}/index.html")
        with timed("a table's page opens in"):
            page.goto(f"file://{folder}/tables/made00.html")
        with timed("its examples are listed in"):
            page.click("tr.difference a")
            page.wait_for_selector("#examples li")
        gaps = np.array(page.evaluate(_SCROLL))
        median, late = np.quantile(gaps, [0.5, 0.99])
        print(f"scrolling: frames of {median:.0f} ms, 99 % within {late:.0f} ms")


def measure(results: Path, arguments: argparse.Namespace) -> None:
    sizes = {"tables": arguments.tables, "runs": arguments.runs, "examples": arguments.examples}
    with timed(f"made a store of {json.dumps(sizes)} with {arguments.side} px in"):
        make_store(results, **sizes, side=arguments.side)
    where = [f"paths.results={results}"]
    with timed("report written in"):
        index = write_report(where)
    with timed("report written again in"):
        write_report(where)
    files = [file for file in index.parent.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    print(f"index.html: {index.stat().st_size:,} bytes; {len(files):,} files, {total:,} bytes")
    open_pages(index.parent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=40)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="of an output, in pixels")
    parser.add_argument("--folder", type=Path, help="a new folder to keep the store in")
    arguments = parser.parse_args()
    if arguments.folder:
        measure(arguments.folder.resolve(), arguments)
    else:
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name), arguments)


if __name__ == "__main__":
    main()
