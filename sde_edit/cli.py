"""The command line: thin verbs over the package. Heavy imports happen inside the verbs."""

from __future__ import annotations

import errno
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sde_edit.errors import UserError
from sde_edit.lazy import defer


def _with_plugins(
    ctx: click.Context, argument: click.Parameter, overrides: tuple[str, ...]
) -> tuple[str, ...]:
    """Find the plug-ins of `plugins=DIR`, a folder that the user named."""
    if overrides:
        from sde_edit.config import use_plugins

        use_plugins(overrides)
    return overrides


F = TypeVar("F", bound=Callable[..., Any])
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", callback=_with_plugins)
CHOICE = click.argument("words", nargs=-1, metavar="[RUN | FILTER]...")


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them; a comma before a blank is part of a name."""

    name = "A,B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(re.split(r",(?! )", value))


NAMES = Names()


# What the machine refuses: no fault of the program, so no traceback.
_REFUSALS = {
    errno.EACCES, errno.EDQUOT, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG,
    errno.ENOSPC, errno.EPERM, errno.EROFS,
}  # fmt: skip

# Imported in many places and needed by few commands; scipy.stats only by diffusers.
_SLOW = ("torch", "safetensors.torch", "scipy.special", "scipy.stats")


def _say(text: object, *, err: bool = False) -> None:
    """Write a line. Raises UserError if it cannot be written; a closed pipe ends the program."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot write the output: {error.strerror}. What was done is kept"
        ) from error


class Verbs(click.Group):
    """Reports a UserError, and what the machine refuses, by a message and exit code 1.

    Ctrl-C is reported by how to resume.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(
                f"{where}{error.strerror}. Nothing finished is lost; mend it and give the same "
                "command again"
            ) from error
        except click.NoSuchOption as error:
            if error.ctx and any(one.name == "overrides" for one in error.ctx.command.params):
                said = f"{error.format_message()} Settings are written KEY=VALUE, as in steps=50."
                raise click.UsageError(said, error.ctx) from error
            raise
        except KeyboardInterrupt:
            raise click.ClickException(
                "interrupted; what is finished is kept, the same command goes on from there"
            ) from None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sde-edit")
def main() -> None:
    """Does randomness help in diffusion-based image editing, and by how much?

    Experiments are composed from YAML groups, the Hydra way:

    \b
        sde-edit check experiment=p2p_bison_sd15                 what a run needs and takes
        sde-edit run task=inpaint sampler=sde                    one run on the embedded model
        sde-edit run task=inpaint sampler=ode,sde steps=25,50    every combination
        sde-edit sweep table=table2                              a table, with all its runs
        sde-edit table table2                                    the table, from finished runs
        sde-edit compare 5e66 6be8                               two runs, example by example
        sde-edit runs task=inpaint --sort psnr                   every run that fits, best first
        sde-edit export --out values.csv                         the scores of every image
        sde-edit figure figure5                                  a figure that needs no runs
        sde-edit study new drags runs=5e66,6be8                  ask people which edit is better
        sde-edit studio                                          edit photos in the browser
        sde-edit claims                                          what the papers claim, decided
        sde-edit report                                          pages to browse, with the images
        sde-edit status                                          what is finished, what is at work
        sde-edit list                                            what there is to choose from
        sde-edit test-plugin mine                                plug-ins of your own, tested
    """
    defer(*_SLOW)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sde_edit").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="PIL")  # they name no file; what matters is an error


@main.command()
@OVERRIDES
@click.option("--no-evaluate", is_flag=True, help="Make the images only; score them later.")
def run(overrides: tuple[str, ...], no_evaluate: bool) -> None:
    """Edit, score, and draw a contact sheet; comma-separated values make several runs.

    Ends with the scores and costs; of several runs, with the paired difference of each to the
    first. The same command again does only what is missing.
    """
    from sde_edit.commands.run import run_and_describe

    for text in run_and_describe(overrides, evaluate=not no_evaluate):
        _say(text)


@main.command()
@OVERRIDES
def check(overrides: tuple[str, ...]) -> None:
    """Try two examples of every run, and say what the whole takes and what is missing.

    \b
        sde-edit check experiment=p2p_bison_sd15
        sde-edit check table=table2 launcher=slurm

    Goes from the data to the scores with the real settings: files, weights, every example, every
    metric, memory. Leaves no run behind. Exit code 1 if something is missing.
    """
    from sde_edit.commands.check import check_runs

    report, complete = check_runs(overrides)
    _say(report)
    if not complete:
        raise click.exceptions.Exit(1)


@main.command()
@OVERRIDES
@click.option("--dry-run", is_flag=True, help="Check everything, show the plan, and stop.")
@click.option("--force", is_flag=True, help="Replace a table that rests on more images or runs.")
@click.option(
    "--tflops",
    type=float,
    metavar="X",
    help="TFLOP/s that the device sustains: counts operations, and hours where no benchmark does.",
)
def sweep(overrides: tuple[str, ...], dry_run: bool, force: bool, tflops: float | None) -> None:
    """Make all runs of a table or of a grid, on workers of this machine or on Slurm.

    \b
        sde-edit sweep table=table2
        sde-edit sweep steps=25,50 sampler=ode,sde launcher=slurm shards=8
        sde-edit sweep table=table2,table8 setting=paper --dry-run --tflops 495

    setting=paper makes tables with the model and the data of the paper. Checks every run before
    anything starts and makes only what is missing. A table is written when its runs are finished.
    """
    from sde_edit.commands.sweep import check_sweep, launch_sweep, plan_sweep
    from sde_edit.commands.sweep_plan import describe_sweep

    planned = plan_sweep(overrides, tflops)
    _say(describe_sweep(planned), err=not dry_run)
    check_sweep(planned, force=force)
    if not dry_run:
        for line in launch_sweep(planned, force=force):
            _say(line)


@main.command()
@click.argument("words", nargs=-1, metavar="[RUN]... [KEY=VALUE]...")
@click.option("--force", is_flag=True, help="Compute existing scores again.")
def evaluate(words: tuple[str, ...], force: bool) -> None:
    """Score finished runs, given by name or by the overrides that they were made with.

    \b
        sde-edit evaluate 5e66 6be8 metrics=[psnr,ssim]
        sde-edit evaluate sampler=ode,sde steps=25

    RUN is the beginning of an id or of the name of a run folder, or a path of one. Its data set is
    built again from its spec; KEY=VALUE is then for metrics, paths, hardware, and data that has
    moved, such as data.images=DIR.
    """
    from sde_edit.commands.evaluate import evaluate_composed, evaluate_named

    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    if names:
        _say(evaluate_named(names, overrides, force=force))
    else:
        _say(evaluate_composed(overrides, force=force))


@main.command()
@click.argument("name")
@OVERRIDES
@click.option("--force", is_flag=True, help="Replace a table that rests on more images or runs.")
@click.option("--from-json", is_flag=True, help="Write NAME.json's table again, without its runs.")
@click.option("--metrics", type=NAMES, default=(), help="What NAME.tex shows, as psnr,ssim.")
@click.option("--columns", type=NAMES, default=(), help="Its columns, as 25,50 or 'small masks'.")
@click.option("--arms", type=NAMES, default=(), help="Its rows; differences of two of them stay.")
@click.option("--no-intervals", is_flag=True, help="Leave out its intervals.")
def table(
    name: str,
    overrides: tuple[str, ...],
    force: bool,
    from_json: bool,
    metrics: tuple[str, ...],
    columns: tuple[str, ...],
    arms: tuple[str, ...],
    no_intervals: bool,
) -> None:
    """Write results/tables/NAME.{md,csv,json,tex} and its figure from finished runs.

    \b
        sde-edit table table2
        sde-edit table table2 --metrics shapes_fid,psnr --columns 'small masks' --no-intervals

    The other files hold the whole table always; NAME-notes.tex says what its numbers rest on. Ends
    with the number of comparisons that are decided, with the correction for their number and
    without.
    """
    from sde_edit.commands.table import publish_again, publish_table, tally_of
    from sde_edit.report.excerpt import Excerpt

    excerpt = Excerpt(metrics, columns, arms, intervals=not no_intervals)
    if from_json and force:
        raise UserError("--from-json replaces no numbers: leave out --force")
    written = (
        publish_again(name, overrides, excerpt)
        if from_json
        else publish_table(name, overrides, force=force, excerpt=excerpt)
    )
    for path in written:
        _say(path)
    if counted := tally_of(name, overrides):
        _say(counted)


@main.command()
@OVERRIDES
def power(overrides: tuple[str, ...]) -> None:
    """How many examples a table's comparisons need, from the scores of its finished runs.

    \b
        sde-edit power table=table2

    For each comparison: the n that shows the difference seen so far with probability 0.8, and the
    smallest difference that the present n shows. Overrides choose among runs, as in `table`.
    """
    from sde_edit.commands.power import describe_power

    _say(describe_power(overrides))


@main.command()
@click.argument("name")
@OVERRIDES
def figure(name: str, overrides: tuple[str, ...]) -> None:
    """Write results/figures/NAME.{png,svg,pdf}, a figure that is computed and needs no runs.

    `sde-edit list figure` names them. The only override is paths.results=DIR.
    """
    from sde_edit.commands.table import publish_figure

    for path in publish_figure(name, overrides):
        _say(path)


@main.command()
@click.argument("words", nargs=-1, metavar="[NAME]... [KEY=VALUE]...")
def claims(words: tuple[str, ...]) -> None:
    """Test what the papers claim against the stored tables: one line for each verdict.

    \b
        sde-edit claims
        sde-edit claims inpaint drag-over-ode

    Without a NAME it also writes results/claims.{md,json,tex}. The only overrides are
    paths.results=DIR and plugins=DIR, for claims of your own. A claim that does not fit its table
    is named at the end, with exit code 1.
    """
    from sde_edit.commands.claims import check_fit, judged_claims, publish_claims
    from sde_edit.config import use_plugins
    from sde_edit.report.claim_forms import listing

    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    use_plugins(overrides)
    judged = judged_claims(overrides, names)
    _say(listing(judged))
    if not names:
        for path in publish_claims(judged, overrides):
            _say(path)
    check_fit(judged)


@main.command()
@OVERRIDES
def report(overrides: tuple[str, ...]) -> None:
    """Write results/report/index.html: claims, tables and figures, and the images behind them.

    \b
        sde-edit report
        sde-edit report paths.results=results paths.data=/data

    The pages open from the disk, without a server. What is there is not made again. Needs
    pip install 'sde-edit[web]'.
    """
    from sde_edit.web.extra import require_web

    require_web("report")
    from sde_edit.web.report.write import write_report

    _say(write_report(overrides))


@main.command()
@OVERRIDES
def summary(overrides: tuple[str, ...]) -> None:
    """Show finished runs side by side: scores, costs, differences to the first, a contact sheet.

    Also says what the numbers rest on. `sde-edit runs` lists every run.
    """
    from sde_edit.commands.summary import publish_summary

    for text in publish_summary(overrides):
        _say(text)


@main.command()
@click.argument("a")
@click.argument("b")
@OVERRIDES
@click.option("--metric", help="Per example; chooses what the contact sheet shows.")
@click.option("--examples", type=click.IntRange(min=1), default=6, show_default=True)
def compare(a: str, b: str, overrides: tuple[str, ...], metric: str | None, examples: int) -> None:
    """Compare two finished runs on the same examples, and show where they differ most.

    A and B are run ids or names of run folders, which may be shortened, or paths of run folders.
    The only overrides are paths.results=DIR, paths.data=DIR if the data has moved, and plugins=DIR.
    """
    from sde_edit.commands.compare import describe, open_pair, write_sheet

    pair = open_pair(a, b, overrides)
    _say(describe(pair))
    sheet = write_sheet(pair, overrides, metric=metric, examples=examples)
    _say(f"\ncontact sheet: {sheet or 'none, no example differs'}")


@main.command("status")
@OVERRIDES
def status_of_runs(overrides: tuple[str, ...]) -> None:
    """List every run in the results folder; for unfinished ones each shard, its rate, its failure.

    The only override is paths.results=DIR.
    """
    from sde_edit.commands.status import describe_status

    _say(describe_status(overrides))


def _form(*names: str) -> Callable[[F], F]:
    """Decorator: the options --format and --out."""

    def options(command: F) -> F:
        form = click.option(
            "--format", "form", type=click.Choice(names), default=names[0], show_default=True
        )
        path = click.Path(dir_okay=False, path_type=Path)
        return form(click.option("--out", type=path, help="A file, in place of stdout.")(command))

    return options


@main.command("runs")
@CHOICE
@click.option("--sort", metavar="METRIC", help="The best run first.")
@_form("md", "csv", "tex", "json", "parquet")
def runs(words: tuple[str, ...], sort: str | None, form: str, out: Path | None) -> None:
    """List runs: the settings in which they differ, scores, images, costs, state.

    \b
        sde-edit runs task=inpaint 'n>=64' metric=psnr,ssim --sort psnr
        sde-edit runs state=partial
        sde-edit runs sampler=ode,sde steps!=25 --format csv --out runs.csv

    A run is named by the beginning of its id or folder. A filter has a key of a run's settings,
    metric, n (images) or state (finished or partial); values after commas are alternatives.
    paths.results=DIR names the folder of the runs.
    """
    from sde_edit.commands.leaderboard import leaderboard

    _say(_delivered(leaderboard(words, sort=sort, form=form, out=out), out))


@main.command()
@CHOICE
@_form("csv", "parquet")
def export(words: tuple[str, ...], form: str, out: Path | None) -> None:
    """Write the value of every metric on every image, a line each, with the run and its settings.

    \b
        sde-edit export sampler=ode,sde metric=psnr --out psnr.csv
        sde-edit export --format parquet --out values.parquet

    Runs are chosen as by `sde-edit runs`.
    """
    from sde_edit.commands.leaderboard import export as exported

    _say(_delivered(exported(words, form=form, out=out), out))


def _delivered(text: str | None, out: Path | None) -> str:
    """What to say: the text, or the file that it went into."""
    return str(out) if text is None else text.rstrip("\n")


@main.command("rm")
@click.argument("words", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(words: tuple[str, ...], yes: bool) -> None:
    """Remove runs from the results folder: their images, scores and cached features.

    RUN is an id or the name of a run folder, which may be shortened. The only overrides are
    paths.results=DIR and paths.cache=DIR.
    """
    from sde_edit.commands.remove import plan_removal

    names = [word for word in words if "=" not in word]
    removal = plan_removal(names, [word for word in words if "=" in word])
    _say(removal.describe())
    if yes or click.confirm("Remove?", abort=True):
        removal.delete()


@main.command()
@OVERRIDES
@click.option("--yes", is_flag=True, help="Remove them; without it they are only listed.")
def prune(overrides: tuple[str, ...], yes: bool) -> None:
    """List what no run needs: runs without an image, leftovers of killed processes, and cached
    features, masks and LoRAs of runs that are gone. Says what is kept, and why.

    The only overrides are paths.results=DIR and paths.cache=DIR.
    """
    from sde_edit.commands.remove import plan_prune

    removal = plan_prune(overrides)
    _say(removal.describe())
    if yes:
        removal.delete()


@main.command()
@OVERRIDES
@click.option("--images", default=64, show_default=True, help="How many images to make.")
@click.option("--repeats", default=3, show_default=True, help="Timed passes; the median counts.")
@click.option("--json", "in_json", is_flag=True, help="One JSON object on stdout.")
@click.option(
    "--compare",
    "stored",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Show old, new and their ratio; FILE is a benchmark in <results>/bench/.",
)
def bench(
    overrides: tuple[str, ...], images: int, repeats: int, in_json: bool, stored: Path | None
) -> None:
    """Time the engine: per image, against the bare network, and against diffusers' pipeline."""
    from sde_edit.bench.measure import bench as measure
    from sde_edit.bench.result import as_json, comparison, markdown, read_benchmark
    from sde_edit.config import experiment

    if stored and in_json:
        raise UserError("--json and --compare exclude each other: leave one of them out")
    old = read_benchmark(stored) if stored else None
    new = as_json(measure(experiment(overrides), images=images, repeats=repeats, against=old))
    if old:
        _say(comparison(old, new))
    else:
        _say(json.dumps(new, indent=2) if in_json else markdown(new))


@main.group()
def edit() -> None:
    """Edit a photo of your own, of any shape.

    \b
        sde-edit edit inpaint photo.jpg --mask mask.png --prompt "a lake" --out lake.png
        sde-edit edit prompt photo.jpg --from "a cat" --to "a dog" --out dog.png sampler=ode,sde
        sde-edit edit drag photo.jpg --from 90,60 --to 120,60 --prompt "a boat" --out boat.png

    The model is Stable Diffusion 1.5 unless model=... says otherwise. Any setting of `sde-edit run`
    can be given. Comma-separated values give several results: with --out OUT.png and seed=0,1 they
    are OUT-0.png and OUT-1.png.

    The whole photo is edited, at the size that suits the model, and the result has the size of the
    photo. With --mask the pixels outside it are the photo's own. OUT-sheet.png shows the photo
    beside the results.
    """


def _single(command: Any) -> Any:
    """Decorator: the arguments and options that all kinds of edit share."""
    for option in (
        click.option("--force", is_flag=True, help="Replace existing files; else they are kept."),
        click.option(
            "--out",
            type=click.Path(dir_okay=False, path_type=Path),
            required=True,
            help="A PNG; several results put their values into its name.",
        ),
        click.option(
            "--hole",
            type=click.Choice(["white", "black"]),
            default="white",
            show_default=True,
            help="The colour of the mask where the photo may change.",
        ),
        OVERRIDES,
        click.argument("photo", type=click.Path(exists=True, dir_okay=False)),
    ):
        command = option(command)
    return command


def _edit(
    kind: str, picture: dict[str, Any], out: Path, force: bool, overrides: tuple[str, ...]
) -> None:
    from sde_edit.commands.edit import edit_picture, with_defaults

    _say_hole(picture["mask"])
    logging.getLogger("sde_edit").setLevel(logging.WARNING)  # the run's folder is temporary
    given = with_defaults(kind, overrides)
    for path in edit_picture(picture, out=out, force=force, overrides=given):
        _say(path)


def _say_hole(mask: str | None) -> None:
    """Say how the mask is read, unless --hole says it. Raises UserError for --hole without one."""
    source = click.get_current_context().get_parameter_source("hole")
    given = source is not ParameterSource.DEFAULT
    if given and mask is None:
        raise UserError("--hole says which colour of the mask may change, and there is no --mask")
    if mask is not None and not given:
        _say(
            f"{Path(mask).name}: white is what may change; --hole black for the other way round",
            err=True,
        )


def _text(_: click.Context, option: click.Parameter, text: str) -> str:
    if not text.strip():
        raise UserError(f"{option.opts[0]}: is empty, and the task needs words")
    return text


@edit.command("inpaint")
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    help="A picture of the photo's size; --hole says which colour of it is repainted.",
)
@click.option("--prompt", required=True, callback=_text, help="What the whole picture should show.")
@_single
def edit_inpaint(
    photo: str, mask: str, prompt: str, hole: str, out: Path, force: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Repaint what the mask marks.

    Defaults: task=inpaint model=sd15 sampler=sde steps=50 seed=0.
    """
    picture = {"image": photo, "mask": mask, "hole": hole, "caption": prompt}
    _edit("inpaint", picture, out, force, overrides)


@edit.command("prompt")
@click.option("--from", "before", required=True, callback=_text, help="What the picture shows.")
@click.option("--to", "after", required=True, callback=_text, help="What it should show.")
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False),
    help="What may change, a picture of the photo's size. Without it the task decides: DiffEdit "
    "finds a mask, and the pixels outside that are not exactly the photo's.",
)
@_single
def edit_prompt(
    photo: str, before: str, after: str, mask: str | None, hole: str, out: Path, force: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Change what the photo shows by a prompt: DiffEdit, or what task=... names.

    Defaults: task=diffedit model=sd15 sampler=sde steps=50 seed=0. Other tasks are sdedit,
    roundtrip, cyclediffusion, p2p and null_text.
    """
    picture = {"image": photo, "mask": mask, "hole": hole, "caption": before, "target": after}
    _edit("prompt", picture, out, force, overrides)


@edit.command("drag")
@click.option("--from", "sources", multiple=True, required=True, metavar="X,Y", help="What moves.")
@click.option("--to", "targets", multiple=True, required=True, metavar="X,Y", help="Where to.")
@click.option("--prompt", required=True, callback=_text, help="What the picture shows.")
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False),
    help="What may change, a picture of the photo's size. Without it all may.",
)
@_single
def edit_drag(
    photo: str, sources: tuple[str, ...], targets: tuple[str, ...], prompt: str, mask: str | None,
    hole: str, out: Path, force: bool, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Drag what lies at --from to --to, in pixels of the photo: SDE-Drag, or another sampler=...

    Defaults: task=drag model=sd15 sampler=sde steps=50 seed=0; the paper uses steps=200. For
    several pairs give --from and --to once for each. task=drag_diffusion sampler=ode is
    DragDiffusion, task=region_drag RegionDrag.
    """
    if len(sources) != len(targets):
        raise UserError(f"--from is given {len(sources)} times and --to {len(targets)} times")
    drags = [[_point(a), _point(b)] for a, b in zip(sources, targets, strict=True)]
    picture = {"image": photo, "mask": mask, "hole": hole, "caption": prompt, "drags": drags}
    _edit("drag", picture, out, force, overrides)


def _point(text: str) -> list[float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise UserError(f"{text!r}: a point is X,Y in pixels, such as 145,216") from None
    return [x, y]


@main.command()
@OVERRIDES
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8060, show_default=True, help="0: any that is free.")
@click.option("--token", default="", help="What other machines must know; needed for their --host.")
def studio(overrides: tuple[str, ...], host: str, port: int, token: str) -> None:
    """Edit photos of your own in the browser: inpaint, edit by words, drag.

    \b
        sde-edit studio                             the embedded model
        sde-edit studio model=sd15 steps=100

    The overrides hold for every edit; task, sampler and their settings are chosen on the page.
    Photos and results are kept in <paths.results>/studio. Every result comes with the command line
    of `sde-edit edit` that makes the same.
    """
    from sde_edit.web.extra import require_web

    require_web("studio")
    from sde_edit.web.studio.app import serve_studio

    serve_studio(overrides, host=host, port=port, token=token, announce=_say)


@main.group()
def study() -> None:
    """Ask people which of two edits is better, and say how surely.

    \b
        sde-edit study new drags runs=5e66,6be8 labels=SDE-Drag,ODE-Drag n=100
        sde-edit study serve drags
        sde-edit study results drags
    """


@study.command("new")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
def study_new(name: str, words: tuple[str, ...]) -> None:
    """Seal the plan of a study: which images are shown, and how the answers will be judged.

    \b
        runs=A,B[,C]           finished runs of one data set; every pair of them is compared
        labels=SDE-Drag,...    what the results call them; raters see no name
        question="..."         by default "Select the better image."
        n=100                  examples, each shown once for every pair of runs
        seed=0                 of the examples, their order and sides
        passed=0.8             a rater counts who passes this share of the checks
        raters=6               the study may stop when so many raters count, and
        half_width=0.1         half of every 95 % interval is at most that
        paths.results=DIR      the folder of the runs

    A plan is never changed: it is hashed, and the answers are bound to it.
    """
    from sde_edit.commands.study import new_study

    _say(new_study(name, words))


@study.command("serve")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[paths.results=DIR]")
@click.option(
    "--raters", type=click.IntRange(min=1), default=1, help="Make links for so many at least."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--token", default="", help="For another --host: what every link then carries.")
def study_serve(
    name: str, words: tuple[str, ...], raters: int, port: int, host: str, token: str
) -> None:
    """Serve the pages of a study until Ctrl-C, and print a link for each rater.

    Answers are on disk before they are confirmed: stop and start the server at any time.
    """
    from sde_edit.web.extra import require_web

    require_web("study serve")
    from sde_edit.web.server import serve
    from sde_edit.web.study import open_study

    opened = open_study(name, words, raters=raters, host=host, port=port, token=token)
    for rater, link in opened.links.items():
        _say(f"{rater}: {link}")
    serve(opened.app, opened.listening)


@study.command("results")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[paths.results=DIR]")
def study_results(name: str, words: tuple[str, ...]) -> None:
    """Write results/tables/study-NAME.* and results/figures/study-NAME.*; show the table.

    At any time: the table says whether the plan's rule for stopping is met.
    """
    from sde_edit.commands.study import publish_results
    from sde_edit.report.formats import markdown

    table, files = publish_results(name, words)
    _say(markdown(table))
    for path in files:
        _say(path)


@main.group()
def data() -> None:
    """Data sets."""


@data.command()
@OVERRIDES
def status(overrides: tuple[str, ...]) -> None:
    """Show what is found of a data set, what is missing, and where to get it: `data=places`."""
    from sde_edit.config import data_set
    from sde_edit.imaging.batches import in_words, sizes_of

    name, chosen = data_set(overrides)
    found = chosen.status()
    _say(f"{name}: {found.found} examples")
    for line in (*found.problems, *found.notes):
        _say(f"  {line}")
    if found.problems or not found.found:
        _say(f"  {found.remedy}")
        raise click.exceptions.Exit(1)
    if sizes := sizes_of(chosen, chosen.ids()):
        _say(f"  images of {in_words(sizes.values())}")


@main.command()
@OVERRIDES
def show(overrides: tuple[str, ...]) -> None:
    """Explain one choice, as task=drag or data=places: its settings, defaults, types, meaning.

    With no or with several overrides: the whole config that they give, and what set each value.
    """
    from sde_edit.commands.show import composed_values, describe_choice, in_words
    from sde_edit.registry import groups

    words = [word for word in overrides if not word.startswith("plugins=")]
    group, _, name = words[0].partition("=") if len(words) == 1 else ("", "", "")
    if name and group in groups() and "," not in name:
        _say(in_words(describe_choice(group, name)))
        return
    found = composed_values(overrides)
    width = max(len(value.key) for value in found)
    for value in found:
        _say(f"{value.key:<{width}}  {value.value}  # {value.source}")


@main.command()
@click.argument(
    "group", type=click.Choice(["sampler", "task", "metric", "data", "model", "table", "claim"])
)
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("plugins"),
    show_default=True,
    help="The folder of your plug-ins.",
)
def new(group: str, name: str, into: Path) -> None:
    """Write a working plug-in to start from, and say what to do next."""
    from sde_edit.commands.new import next_steps, write_skeleton

    for file in write_skeleton(group, name, into):
        _say(file)
    _say("next:")
    for command in next_steps(group, name, into):
        _say(f"  {command}")


@main.command("test-plugin")
@click.argument("plugin", metavar="DIR|NAME")
@OVERRIDES
def test_plugin(plugin: str, overrides: tuple[str, ...]) -> None:
    """Check that plug-ins keep to what this program relies on, one line for each check.

    DIR is a folder of plug-ins, as for plugins=DIR; NAME is one that `sde-edit list` shows. The
    overrides are settings that a config leaves open, such as data.root=DIR. Exit code 1 if a check
    fails.
    """
    from sde_edit.contracts.run import outcomes

    failed = count = 0
    for outcome in outcomes(plugin, overrides):
        _say(outcome)
        count += 1
        failed += bool(outcome.problem)
    _say(f"{count} checks, {failed} failed")
    if failed:
        raise click.exceptions.Exit(1)


@main.command("list")
@click.argument("words", nargs=-1, metavar="[GROUP] [plugins=DIR]")
@click.option("--bibtex", is_flag=True, help="Print the papers as BibTeX entries instead.")
def list_(words: tuple[str, ...], bibtex: bool) -> None:
    """List and describe the names in every YAML group, and the computed figures.

    Names that a paper describes end in its BibTeX key; the references are below. The only override
    is plugins=DIR.
    """
    from sde_edit.registry import citations, groups, listing, suggest
    from sde_edit.theory import FIGURES

    plugins = [word for word in words if word.startswith("plugins=")]
    if plugins:
        from sde_edit.config import use_plugins

        use_plugins(plugins)
    chosen = [word for word in words if word not in plugins]
    if len(chosen) > 1:
        raise UserError(f"{chosen[1]}: list takes one group, and plugins=DIR")
    group = chosen[0] if chosen else None
    shelves = {name: listing(name) for name in groups()} | {"figure": FIGURES}
    if group and group not in shelves:
        raise UserError(f"no group {group!r}.{suggest(group, sorted(shelves))}")
    shown = [group] if group else sorted(shelves)
    cited = {name: citations(name) for name in shown if name in groups()}
    papers = {paper.key: paper for found in cited.values() for paper in found.values()}
    if bibtex:
        _say("\n\n".join(papers[key].bibtex() for key in sorted(papers)))
        return
    for name in shown:
        _say(f"{name}:")
        for option, line in shelves[name].items():
            paper = cited.get(name, {}).get(option)
            key = f"[{paper.key}]" if paper else ""
            _say(f"  {option:<18} {line} {key}".rstrip())
    if papers:
        _say("references:")
    for key in sorted(papers):
        _say(f"  {key:<22} {papers[key]}")
