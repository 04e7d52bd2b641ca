"""One picture: what a person types who wants theirs edited. A run like any other, in a folder that
is gone afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from platformdirs import user_cache_dir

from sde_edit.commands.run import run_all
from sde_edit.config import experiment, override
from sde_edit.errors import UserError


def edit_picture(
    picture: Mapping[str, Any], *, out: Path, force: bool, overrides: Sequence[str]
) -> list[Path]:
    """Write the edited picture to `out`, and original and result side by side beside it.

    picture: settings of data=picture. A mask or a LoRA that was found for it is kept in the user's
    cache folder, so that the next edit of it starts at once. Raises UserError for what is wrong
    with the settings, before any work; and if there is a file at `out`, unless by force.
    """
    sheet = out.with_name(f"{out.stem}-sheet.png")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: must end in .png")
    if there := [path for path in (out, sheet) if path.exists() and not force]:
        raise UserError(f"{there[0]} is there already: choose another --out, or give --force")
    given = [override(f"data.{key}", value) for key, value in picture.items()]
    with TemporaryDirectory() as folder:
        cache = override("paths.cache", user_cache_dir("sde-edit"))
        chosen = ["data=picture", cache, *overrides, *given, override("paths.results", folder)]
        (run,) = run_all([experiment(chosen)])
        (row,) = run.rows().values()
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.output(row), out)
        shutil.copyfile(run.path / "contact.png", sheet)
    return [out, sheet]
