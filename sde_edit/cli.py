"""The command line: thin verbs over the package. Heavy imports happen inside the verbs."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from sde_edit.errors import UserError


def _with_plugins(
    ctx: click.Context, argument: click.Parameter, overrides: tuple[str, ...]
) -> tuple[str, ...]:
    """Find the plug-ins of `plugins=DIR`, a folder that the user named."""
    if overrides:
        from sde_edit.config import use_plugins

        use_plugins(overrides)
    return overrides


OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", callback=_with_plugins)


class Verbs(click.Group):
    """Reports a UserError by its message and exit code 1, and Ctrl-C by how to resume."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from error
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
        sde-edit figure figure5                                  a figure that needs no runs
        sde-edit status                                          what is finished, what is at work
        sde-edit list                                            what there is to choose from
        sde-edit test-plugin mine                                plug-ins of your own, tested
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sde_edit").setLevel(logging.INFO)


@main.command()
@OVERRIDES
@click.option("--no-evaluate", is_flag=True, help="Make the images only; score them later.")
def run(overrides: tuple[str, ...], no_evaluate: bool) -> None:
    """Edit, score, and draw a contact sheet; comma-separated values make several runs.

    The same command again does only what is missing.
    """
    from sde_edit.commands.run import experiments_of, run_all

    for finished in run_all(experiments_of(overrides), evaluate=not no_evaluate):
        click.echo(finished.path)


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
    click.echo(report)
    if not complete:
        raise click.exceptions.Exit(1)


@main.command()
@OVERRIDES
@click.option("--dry-run", is_flag=True, help="Check everything, show the plan, and stop.")
@click.option("--force", is_flag=True, help="Replace a table that rests on more images or runs.")
def sweep(overrides: tuple[str, ...], dry_run: bool, force: bool) -> None:
    """Make all runs of a table or of a grid, on workers of this machine or on Slurm.

    \b
        sde-edit sweep table=table2
        sde-edit sweep steps=25,50 sampler=ode,sde launcher=slurm shards=8

    Checks every run before anything starts and makes only what is missing. A table is written when
    its runs are finished.
    """
    from sde_edit.commands.sweep import check_sweep, describe_sweep, launch_sweep, plan_sweep

    planned = plan_sweep(overrides)
    click.echo(describe_sweep(planned), err=not dry_run)
    check_sweep(planned)
    if not dry_run:
        for line in launch_sweep(planned, force=force):
            click.echo(line)


@main.command()
@OVERRIDES
@click.option("--force", is_flag=True, help="Compute existing scores again.")
def evaluate(overrides: tuple[str, ...], force: bool) -> None:
    """Score finished runs; give the overrides that the runs were made with."""
    from sde_edit.commands.run import finished_run, score
    from sde_edit.config import experiment
    from sde_edit.overrides import expand

    for combination in expand(overrides):
        chosen = experiment(combination)
        for name, value in score(chosen, finished_run(chosen), chosen.metrics, force).items():
            click.echo(f"{name}\t{value:.6g}")


@main.command()
@click.argument("name")
@OVERRIDES
@click.option("--force", is_flag=True, help="Replace a table that rests on more images or runs.")
def table(name: str, overrides: tuple[str, ...], force: bool) -> None:
    """Write results/tables/NAME.{md,csv,tex,json} and its figure from finished runs."""
    from sde_edit.commands.table import publish_table

    for path in publish_table(name, overrides, force=force):
        click.echo(path)


@main.command()
@click.argument("name")
@OVERRIDES
def figure(name: str, overrides: tuple[str, ...]) -> None:
    """Write results/figures/NAME.{png,svg}, a figure that is computed and needs no runs.

    `sde-edit list figure` names them. The only override is paths.results=DIR.
    """
    from sde_edit.commands.table import publish_figure

    for path in publish_figure(name, overrides):
        click.echo(path)


@main.command()
@OVERRIDES
def summary(overrides: tuple[str, ...]) -> None:
    """Show finished runs side by side: a table of scores and costs, and a contact sheet."""
    from sde_edit.commands.table import publish_summary

    text, sheet = publish_summary(overrides)
    click.echo(text)
    click.echo(f"\ncontact sheet: {sheet}")


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
    click.echo(describe(pair))
    sheet = write_sheet(pair, overrides, metric=metric, examples=examples)
    click.echo(f"\ncontact sheet: {sheet or 'none, no example differs'}")


@main.command("status")
@OVERRIDES
def status_of_runs(overrides: tuple[str, ...]) -> None:
    """List every run in the results folder; for unfinished ones each shard, its rate, its failure.

    The only override that matters is paths.results=DIR.
    """
    from sde_edit.commands.status import describe_status

    click.echo(describe_status(overrides))


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
    click.echo(removal.describe())
    if yes or click.confirm("Remove?", abort=True):
        removal.delete()


@main.command()
@OVERRIDES
@click.option("--yes", is_flag=True, help="Remove them; without it they are only listed.")
def prune(overrides: tuple[str, ...], yes: bool) -> None:
    """List what no run needs: runs without an image, stale features, leftovers of killed processes.

    The only overrides are paths.results=DIR and paths.cache=DIR.
    """
    from sde_edit.commands.remove import plan_prune

    removal = plan_prune(overrides)
    click.echo(removal.describe())
    if yes:
        removal.delete()


@main.command()
@OVERRIDES
@click.option("--images", default=64, show_default=True, help="How many images to make.")
@click.option("--repeats", default=3, show_default=True, help="Timed passes; the median counts.")
@click.option("--json", "in_json", is_flag=True, help="One JSON object on stdout.")
def bench(overrides: tuple[str, ...], images: int, repeats: int, in_json: bool) -> None:
    """Time the engine: per image, against the bare network, and against diffusers' pipeline."""
    from sde_edit.bench.measure import bench as measure
    from sde_edit.bench.result import as_json, markdown
    from sde_edit.config import experiment

    measured = measure(experiment(overrides), images=images, repeats=repeats)
    click.echo(json.dumps(as_json(measured), indent=2) if in_json else markdown(measured))


@main.group()
def edit() -> None:
    """Edit one picture of your own, with Stable Diffusion 1.5 unless model=... says otherwise.

    Edits the central square. Writes OUT, and OUT-sheet.png with the original beside the result.
    """


def _single(command: Any) -> Any:
    """Decorator: the arguments and options that all kinds of edit share."""
    for option in (
        click.option("--force", is_flag=True, help="Replace existing files."),
        click.option("--out", type=click.Path(path_type=Path), required=True, help="A PNG."),
        click.option("--hole", type=click.Choice(["white", "black"]), default="white"),
        OVERRIDES,
        click.argument("photo", type=click.Path(exists=True, dir_okay=False)),
    ):
        command = option(command)
    return command


def _edit(
    task: str, picture: dict[str, Any], out: Path, force: bool, overrides: tuple[str, ...]
) -> None:
    from sde_edit.commands.edit import edit_picture

    logging.getLogger("sde_edit").setLevel(logging.WARNING)  # the run's folder is temporary
    given = [f"task={task}", "model=sd15", *overrides]
    for path in edit_picture(picture, out=out, force=force, overrides=given):
        click.echo(path)


@edit.command("inpaint")
@click.option("--mask", type=click.Path(exists=True, dir_okay=False), required=True)
@click.option("--prompt", required=True, help="What the whole picture should show.")
@_single
def edit_inpaint(
    photo: str, mask: str, prompt: str, hole: str, out: Path, force: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Repaint what the mask marks."""
    picture = {"image": photo, "mask": mask, "hole": hole, "caption": prompt}
    _edit("inpaint", picture, out, force, overrides)


@edit.command("prompt")
@click.option("--from", "before", required=True, help="What the picture shows.")
@click.option("--to", "after", required=True, help="What it should show.")
@click.option("--mask", type=click.Path(exists=True, dir_okay=False), help="Found if not given.")
@_single
def edit_prompt(
    photo: str, before: str, after: str, mask: str | None, hole: str, out: Path, force: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Change what the picture shows by a prompt: DiffEdit, or what task=... names."""
    picture = {"image": photo, "mask": mask, "hole": hole, "caption": before, "target": after}
    region = ("task.region=mask",) if mask else ()
    _edit("diffedit", picture, out, force, (*region, *overrides))


@edit.command("drag")
@click.option("--from", "sources", multiple=True, required=True, metavar="X,Y", help="What moves.")
@click.option("--to", "targets", multiple=True, required=True, metavar="X,Y", help="Where to.")
@click.option("--prompt", required=True, help="What the picture shows.")
@click.option("--mask", type=click.Path(exists=True, dir_okay=False), help="What may change.")
@_single
def edit_drag(
    photo: str, sources: tuple[str, ...], targets: tuple[str, ...], prompt: str, mask: str | None,
    hole: str, out: Path, force: bool, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Drag what lies at --from to --to, in pixels of the file: SDE-Drag, or another sampler=...

    For several pairs give --from and --to once for each. The paper uses steps=200.
    task=drag_diffusion sampler=ode is DragDiffusion.
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


@main.group()
def data() -> None:
    """Data sets."""


@data.command()
@OVERRIDES
def status(overrides: tuple[str, ...]) -> None:
    """Show what is found of a data set, what is missing, and where to get it: `data=places`."""
    from sde_edit.config import data_set

    name, chosen = data_set(overrides)
    found = chosen.status()
    click.echo(f"{name}: {found.found} examples")
    for line in (*found.problems, *found.notes):
        click.echo(f"  {line}")
    if found.problems or not found.found:
        click.echo(f"  {found.remedy}")
        raise click.exceptions.Exit(1)


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
        click.echo(outcome)
        count += 1
        failed += bool(outcome.problem)
    click.echo(f"{count} checks, {failed} failed")
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
        click.echo("\n\n".join(papers[key].bibtex() for key in sorted(papers)))
        return
    for name in shown:
        click.echo(f"{name}:")
        for option, line in shelves[name].items():
            paper = cited.get(name, {}).get(option)
            key = f"[{paper.key}]" if paper else ""
            click.echo(f"  {option:<18} {line} {key}".rstrip())
    if papers:
        click.echo("references:")
    for key in sorted(papers):
        click.echo(f"  {key:<22} {papers[key]}")
