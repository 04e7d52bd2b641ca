"""`sde-edit edit`: edit a single picture, by a run in a temporary folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Any

from platformdirs import user_cache_dir

from sde_edit.api.override import override
from sde_edit.commands.run import run_all
from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.store.files import write_together
from sde_edit.store.processes import temporary_prefix
from sde_edit.store.runs import Run

TEMPORARY = "sde-edit-edit"  # folders in the system's own temporary folder


def cache_folder() -> Path:
    """Where the masks and LoRAs of edited pictures are kept."""
    return Path(user_cache_dir("sde-edit"))


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
    _check_writable(out)
    folder = mkdtemp(prefix=temporary_prefix(TEMPORARY))
    try:
        cache = override("paths.cache", str(cache_folder()))
        chosen = ["data=picture", cache, *overrides, *given, override("paths.results", folder)]
        (run,) = run_all([experiment(chosen)])
    except BaseException:
        shutil.rmtree(folder)
        raise
    _deliver(run, out, sheet)
    shutil.rmtree(folder)
    return [out, sheet]


def _check_writable(out: Path) -> None:
    """Raises UserError if no file can be written beside `out`, before the network works."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error


def _deliver(run: Run, out: Path, sheet: Path) -> None:
    """Copy the result and its sheet. If that fails, the UserError says where they are kept."""
    (row,) = run.rows().values()
    made, drawn = run.output(row), run.path / "contact.png"
    try:
        write_together({out: made.read_bytes(), sheet: drawn.read_bytes()})
    except UserError as error:
        raise UserError(
            f"--out {out}: cannot be written ({error.__cause__}). The result is kept as {made}"
        ) from error
