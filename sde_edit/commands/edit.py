"""`sde-edit edit`: edit a single picture, by a run in a temporary folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from platformdirs import user_cache_dir

from sde_edit.api.override import override
from sde_edit.commands.run import run_all
from sde_edit.config import experiment
from sde_edit.errors import UserError


def edit_picture(
    picture: Mapping[str, Any], *, out: Path, force: bool, overrides: Sequence[str]
) -> list[Path]:
    """Write the edited picture to `out`, and a sheet with original and result beside it.

    picture: settings of data=picture. Masks and LoRAs are kept in the user's cache folder, so that
    the next edit of the same picture starts at once. Raises UserError, before any work, for wrong
    settings, and if `out` exists and `force` is not given.
    """
    sheet = out.with_name(f"{out.stem}-sheet.png")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: must end in .png")
    if existing := [path for path in (out, sheet) if path.exists() and not force]:
        raise UserError(f"{existing[0]} is there already: choose another --out, or give --force")
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
