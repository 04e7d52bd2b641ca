"""A store with runs of Table 2, and the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sde_edit.commands.table import build_table
from sde_edit.report.table import Table
from sde_edit.store.runs import Run, RunStore
from tests.builders import add_score
from tests.unit.report.inpainting import VALUES, Fill, N, add_numbered, config, inpaint_spec


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


@pytest.fixture
def fill(store: RunStore) -> Fill:
    """Makes the twelve runs of Table 2, apart from `skip`, with two metrics."""

    def make(skip: tuple[tuple[str, str, int], ...] = (), **spec: Any) -> dict[Any, Run]:
        made = {}
        for place, value in VALUES.items():
            if place in skip:
                continue
            run = store.open(inpaint_spec(*place, **spec))
            add_numbered(run, N)
            add_score(run, "psnr", 30 - value)
            add_score(run, "shapes_fid", value)
            made[place] = run
        return made

    return make


@pytest.fixture
def table(store: RunStore, fill: Fill) -> Table:
    fill(skip=(("sde", "large", 100),))
    return build_table(config(), store.runs())
