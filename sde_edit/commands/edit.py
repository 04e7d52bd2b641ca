"""`sde-edit edit`: edit a single photo, by runs in a temporary folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp
from typing import TYPE_CHECKING, Any

from PIL import Image
from platformdirs import user_cache_dir

from sde_edit.api.example import Drag, Example
from sde_edit.api.experiment import Experiment
from sde_edit.api.override import override
from sde_edit.commands.run import run_all
from sde_edit.config import compose_config, experiment
from sde_edit.datasets.picture import Picture
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.plan import plan_run
from sde_edit.engine.producer import Outlook, inspect_missing
from sde_edit.errors import UserError
from sde_edit.imaging.files import (
    Size,
    is_transparent,
    png_bytes,
    read_output,
    read_size,
    to_pixels,
)
from sde_edit.imaging.fit import Fitting, unchanged
from sde_edit.imaging.restore import restored
from sde_edit.overrides import expand, read
from sde_edit.report.contact_sheet import contact_sheet, found_masks, masked, stacked
from sde_edit.store.files import reason, write_atomic, write_together
from sde_edit.store.processes import temporary_prefix
from sde_edit.store.runs import Run, RunStore, batched

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

log = logging.getLogger("sde_edit")

_SHEET_SIDE = 512  # pixels of the long side of a picture on the sheet, at most
_COLUMNS = 6  # pictures in a row of the sheet
_TOLD = 60  # letters of a value in the name of a file
# Settings of a run that would have no effect here, and why.
_IDLE = {
    "data": "edit works on the photo that it is given",
    "data.limit": "edit works on one photo",
    "data.metrics": "edit scores nothing",
    "launcher": "edit works in this process",
    "metrics": "edit scores nothing",
    "paths.results": "edit keeps no run",
    "shard": "a photo has no shards",
    "shards": "a photo has no shards",
}


@dataclass(frozen=True)
class _Wish:
    """One of the results that are asked for: its file, its label on the sheet, its overrides."""

    file: Path
    label: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class _Result:
    """A result at the size of the photo, and the run that holds it as the network made it."""

    file: Path
    label: str
    run: Run
    image: Pixels


_TASKS = {"inpaint": "inpaint", "prompt": "diffedit", "drag": "drag"}
TEMPORARY = "sde-edit-edit"  # folders in the system's own temporary folder


def cache_folder() -> Path:
    """Where the masks and LoRAs of edited pictures are kept."""
    return Path(user_cache_dir("sde-edit"))


def with_defaults(kind: str, overrides: Sequence[str]) -> list[str]:
    """The overrides of `sde-edit edit <kind>`, after those for which the command itself stands."""
    return [f"task={_TASKS[kind]}", "model=sd15", *overrides]


def edit_picture(
    picture: Mapping[str, Any],
    *,
    out: Path,
    force: bool,
    overrides: Sequence[str],
    models: ModelCache | None = None,
) -> list[Path]:
    """Write the edited photo to `out`, and a sheet with photo and result beside it.

    picture: settings of data=picture. If overrides are swept, there is a result for each
    combination, <out>-<values>.png, and one sheet. Results have the size of the photo, and its own
    pixels outside a mask. Masks that were found and LoRAs are kept in the user's cache folder, so
    that the next edit of the same photo starts at once. models: what earlier edits have loaded.

    Raises UserError, before any work, for wrong settings, and if a file exists and `force` is not
    given. If some results fail, the others are written and the UserError names them.
    """
    _check_overrides(overrides, picture)
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: must end in .png")
    sheet = out.with_name(f"{out.stem}-sheet.png")
    wishes = _wishes(out, sheet, overrides)
    files = [*(wish.file for wish in wishes), sheet]
    if existing := [file for file in files if file.exists() and not force]:
        raise UserError(f"{existing[0]} is there already: choose another --out, or give --force")
    _check_sources(files, picture)
    with TemporaryDirectory(prefix=temporary_prefix(TEMPORARY)) as folder:
        experiments = _experiments(wishes, picture, folder)
        photo = _picture(experiments[0]).photo()
        _check_writable(out)
        _say(experiments, photo)
        failure = _run(experiments, models)
        results = _results(wishes, experiments, photo)
        made = {one.file: png_bytes(Image.fromarray(one.image)) for one in results}
        made[sheet] = png_bytes(_sheet(photo, results))
    _deliver(made, out)
    if failure:
        raise UserError(f"{failure}\nwritten: {', '.join(map(str, made))}")
    return list(made)


def foresee(
    picture: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[list[Experiment], list[Outlook]]:
    """The experiment of each result that `edit_picture` would make, and what is known of it.

    Logs what the user should know. Raises UserError as `edit_picture` does.
    """
    _check_overrides(overrides, picture)
    wishes = _wishes(Path("out.png"), Path("out-sheet.png"), overrides)
    experiments = _experiments(wishes, picture, "results")
    _say(experiments, _picture(experiments[0]).photo())
    plans = [plan_run(one, None) for one in experiments]
    return experiments, inspect_missing(list(zip(experiments, plans, strict=True)), scored=False)


# ------------------------------------------------------------------ what is asked for
def _check_overrides(overrides: Sequence[str], picture: Mapping[str, Any]) -> None:
    """Raises UserError for an override that would have no effect."""
    for one in read(overrides):
        key = one.key_or_group
        if why := _IDLE.get("launcher" if key.startswith("launcher.") else key):
            raise UserError(f"{one.input_line}: {why}")
        if key in {f"data.{own}" for own in picture}:
            raise UserError(f"{one.input_line}: an option says this; see sde-edit edit --help")


def _check_sources(files: Sequence[Path], picture: Mapping[str, Any]) -> None:
    """Raises UserError if a result would take the place of the photo or of its mask."""
    for source in (picture["image"], picture.get("mask")):
        for file in files:
            if source and file.exists() and file.samefile(source):
                raise UserError(f"{file} is what is edited: choose another --out, to keep it")


def _wishes(out: Path, sheet: Path, overrides: Sequence[str]) -> list[_Wish]:
    """One for each combination of swept values. Raises UserError unless their names differ."""
    swept = [one.key_or_group for one in read(overrides) if one.is_sweep_override()]
    wishes = []
    for combination in expand(overrides):
        values = dict(line.lstrip("+").split("=", 1) for line in combination)
        label = ", ".join(f"{key}={values[key]}" for key in swept)
        wishes.append(_Wish(_named(out, [values[key] for key in swept]), label, combination))
    names = [sheet, *(wish.file for wish in wishes)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"two files would be named {twice[0]}: give each value once, and values that differ in "
            f"their first {_TOLD} letters"
        )
    return wishes


def _named(out: Path, values: Sequence[str]) -> Path:
    told = [re.sub(r"[^\w.+-]+", "_", value).strip("_")[:_TOLD] for value in values]
    return out.with_name("-".join([out.stem, *told]) + out.suffix)


def _experiments(
    wishes: Sequence[_Wish], picture: Mapping[str, Any], folder: str
) -> list[Experiment]:
    """An experiment for each result. If one of the models has one size, all take the square."""
    last = [override(f"data.{key}", value) for key, value in picture.items()]
    last.append(override("paths.results", folder))

    def composed(*more: str) -> list[Experiment]:
        first = ["data=picture", override("paths.cache", str(cache_folder())), *more]
        all_of = [[*first, *wish.overrides, *last] for wish in wishes]
        return [experiment([*_region(one), *one]) for one in all_of]

    experiments = composed()
    if any(one.source.factor is None for one in experiments):
        experiments = composed("data.fit=crop")
    if len({_picture(one).fit for one in experiments}) > 1:
        raise UserError("data.fit: one value, please; all results are of one size")
    return experiments


def _region(overrides: Sequence[str]) -> list[str]:
    """The setting by which a task is told to stay inside a given mask, if it has one."""
    config = compose_config(overrides)
    return ["task.region=mask"] if config["data"]["mask"] and "region" in config["task"] else []


def _check_writable(out: Path) -> None:
    """Raises UserError if no file can be written beside `out`, before the network works."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error


def _picture(asked: Experiment) -> Picture:
    assert isinstance(asked.dataset, Picture)
    return asked.dataset


# ------------------------------------------------------------------ what the user should know
def _say(experiments: Sequence[Experiment], photo: Example) -> None:
    """Log what of the photo is edited, and the size at which each model does it."""
    file = Path(_picture(experiments[0]).image)
    size, own = read_size(file), _size(photo)
    if is_transparent(file):
        log.warning("%s has transparent pixels: they become white, and stay opaque", file.name)
    if size != own:
        log.warning("%s is %dx%d; its central square alone is edited and written", file.name, *size)
    models = {(one.spec.model.name, _picture(one)) for one in experiments}
    for model, picture in sorted(models, key=lambda one: one[0]):
        (work,) = picture.sizes([photo.id])
        if work != own:
            change = "enlarged" if work < own else "reduced"
            log.warning(
                "%s is %dx%d; model=%s works at %dx%d, and the result is %s",
                *(file.name if size == own else "the square", *own, model, *work, change),
            )


def _size(example: Example) -> Size:
    return example.image.shape[1], example.image.shape[0]


# ------------------------------------------------------------------ results
def _run(experiments: Sequence[Experiment], models: ModelCache | None) -> UserError | None:
    """Make the results. Raises UserError if all fail, and returns it if only some do."""
    try:
        run_all(experiments, evaluate=False, models=models)
    except KeyboardInterrupt:
        raise UserError("interrupted; no result is written") from None
    except UserError as error:
        if not any(_finished(one) for one in experiments):
            raise
        return error
    return None


def _finished(asked: Experiment) -> Run | None:
    run = RunStore(asked.settings.results).find(asked.spec)
    return run if run and run.seal else None


def _results(
    wishes: Sequence[_Wish], experiments: Sequence[Experiment], photo: Example
) -> list[_Result]:
    """Those that are finished."""
    results = []
    for wish, asked in zip(wishes, experiments, strict=True):
        if run := _finished(asked):
            image = to_pixels(read_output(run.output(run.rows()[photo.id])))
            label = wish.label or f"{asked.spec.sampler.name.upper()}, {asked.spec.steps} steps"
            results.append(_Result(wish.file, label, run, restored(image, photo)))
    return results


def _sheet(photo: Example, results: Sequence[_Result]) -> Image.Image:
    """Photo, photo under its mask, masks that were found, and results, all reduced alike."""
    size = _size(photo)
    small = unchanged(size)
    if max(size) > _SHEET_SIDE:
        small = Fitting(_SHEET_SIDE, "keep", "long").frame(size, results[0].file)
    shown = replace(photo, image=small.pixels(Image.fromarray(photo.image)))
    columns = {"original": shown.image}
    if photo.mask is not None:
        columns["masked"] = masked(shown.image, small.greys(Image.fromarray(photo.mask)))
    columns |= _found(shown, results)
    columns |= {one.label: small.pixels(Image.fromarray(one.image)) for one in results}
    wish = f"  ->  {photo.target}" if photo.target else ""
    drags = [Drag(small.point(drag.source), small.point(drag.target)) for drag in photo.drags]
    rows = batched(list(columns), _COLUMNS)
    parts = [
        contact_sheet(
            {heading: [columns[heading]] for heading in row},
            captions=[f"{photo.id}  {photo.caption}{wish}"] if row is rows[0] else None,
            drags=[drags] if row is rows[0] else (),
        )
        for row in rows
    ]
    return stacked(parts)


def _found(shown: Example, results: Sequence[_Result]) -> dict[str, Pixels]:
    """The photo under the masks that were found; once if all results have the same."""
    found = {
        f"{heading}, {one.label}": mask
        for one in results
        for heading, (mask,) in found_masks([shown], [one.run]).items()
    }
    distinct = {mask.tobytes() for mask in found.values()}
    return {"mask found": next(iter(found.values()))} if len(distinct) == 1 else found


def _deliver(made: Mapping[Path, bytes], out: Path) -> None:
    """Write the files. If that fails, they are kept elsewhere, and the UserError says where."""
    try:
        write_together({file.resolve(): content for file, content in made.items()})
    except UserError as error:
        folder = Path(mkdtemp(prefix=temporary_prefix(TEMPORARY)))
        for file, content in made.items():
            write_atomic(folder / file.name, content)
        raise UserError(
            f"--out {out}: cannot be written ({reason(error)}). The result is kept as "
            f"{folder / next(iter(made)).name}"
        ) from error
