"""Write the embedded model's default guidance of each task, from the tables of guidance.

python scripts/default_guidance.py

The rule, fixed before the tables were made: the default of a task is the guidance at which its ODE
arm is nearest to the truth on the validation scenes of `guidance-<task>`. The SDE has no say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from sde_edit.errors import UserError
from sde_edit.report.formats import from_json
from sde_edit.report.table import Block, Table

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "results" / "tables"
MODEL = ROOT / "conf" / "model" / "shapes.yaml"

# What says how near an image is to the truth; the first that a table measures decides. The error
# where the truth differs from the source, elsewhere, and over the whole image; for samples, which
# have no true image, the share of images that show every named attribute.
SCORES = ("truth_error", "known_error", "psnr", "attributes")
ARM = "ODE"


def best_guidance(table: Table) -> float:
    """The guidance at which the ODE arm has the best score, as a mean over the groups of columns.

    Of equal ones the smallest. Raises UserError if the arm or all scores are missing, or if a cell
    of the arm is empty.
    """
    block = _deciding(table)
    (row,) = [row for row in block.rows if (row.kind, row.label) == ("arm", ARM)]
    found: dict[float, list[float]] = defaultdict(list)
    for column, cell in zip(table.columns, row.cells, strict=True):
        if cell.value is None:
            raise UserError(
                f"{table.name}: {block.title} of {ARM} at {column.heading} is missing. Finish it "
                f"with `sde-edit sweep table={table.name}`"
            )
        found[float(column.label)].append(cell.value)
    sign = -1 if block.higher_is_better else 1
    return min(sorted(found), key=lambda guidance: sign * fmean(found[guidance]))


def _deciding(table: Table) -> Block:
    blocks = {
        block.title: block
        for block in table.blocks
        if any((row.kind, row.label) == ("arm", ARM) for row in block.rows)
    }
    for score in SCORES:
        if score in blocks:
            return blocks[score]
    raise UserError(f"{table.name}: has none of {', '.join(SCORES)} of an arm {ARM}")


def measured(tables: Path) -> dict[str, float]:
    """Task -> the guidance that its table in this folder calls best."""
    files = sorted(tables.glob("guidance-*.json"))
    return {
        file.stem.removeprefix("guidance-"): best_guidance(from_json(file.read_text()))
        for file in files
    }


def with_defaults(text: str, found: Mapping[str, float]) -> str:
    """The YAML of the model with these defaults. Raises UserError for a task that it lacks."""
    for task, guidance in found.items():
        text, lines = re.subn(rf"(?m)^(  {task}: )[0-9.]+$", rf"\g<1>{guidance}", text)
        if lines != 1:
            raise UserError(f"{MODEL}: has no line of {task} under guidance")
    return text


if __name__ == "__main__":
    MODEL.write_text(with_defaults(MODEL.read_text(), measured(TABLES)))
