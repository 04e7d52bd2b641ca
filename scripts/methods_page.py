"""Write docs/methods.md: the paper's Table 1 for all methods in the registry.

python scripts/methods_page.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.config import compose_config, group_file, plugin_settings
from sde_edit.registry import build, citations, listing, names

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
INTRO = """\
# Methods

This page lists every editing method: which tasks there are, which samplers each accepts, and how
they encode and decode. `python scripts/methods_page.py` writes it from the plug-ins.

Every method has three parts (the paper's Sec. 3.1). It encodes the image x_0 to a noisy latent
x_t0, edits something, and decodes the result. A task defines the edit and a sampler defines how to
encode and decode, so each row is a task with the samplers that serve it in the same way. The table
extends the paper's Table 1.

"""
HEAD = """\
| `task=` | encode, x_0 to x_t0 | edit | decode, x_t0 to x_0 | `sampler=` |
|---|---|---|---|---|
"""
NOTES = """
"Noise, w' kept" means Cycle-SDE: Eq. 7, with the noise of Eq. 8, which makes decoding return the
source. `ef` does the same with independent noise at every time in the place of Eq. 7. The sampler
`none` leaves the latent unchanged and shows what the autoencoder does alone.

## Tasks

"""

REFERENCES = """
## References

`sde-edit list --bibtex` prints these references as BibTeX.

"""


def plugin(group: str, package: str, name: str) -> Any:
    settings = compose_config([f"{group}={name}"])[group]
    return build(package, settings["kind"], plugin_settings(group, settings))


def ways(task: Task, sampler: Sampler) -> tuple[str, str]:
    """How a task encodes and decodes with a sampler, in the words of the paper's Table 1."""
    if not task.inverts:
        return "noise", "SDE" if sampler.stochastic else "ODE"
    if sampler.stochastic:
        return "noise, w' kept", "Cycle-SDE"
    return "ODE, exactly inverted" if sampler.inversion == "exact" else "ODE, inverted", "ODE"


def lines(name: str, task: Task, samplers: Mapping[str, Sampler]) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    served = task.samplers or samplers
    for label, sampler in samplers.items():
        if label in served and (sampler.inversion != "none" or not task.inverts):
            groups.setdefault(ways(task, sampler), []).append(f"`{label}`")
    return [
        f"| `{name}` | {up} | {task.changes} | {down} | {', '.join(found)} |"
        for (up, down), found in sorted(groups.items())
    ]


def by_number(name: str) -> tuple[str, int]:
    """figure9 before figure10."""
    word = name.rstrip("0123456789")
    return word, int(name.removeprefix(word) or 0)


def results(task: str) -> str:
    """Links to the configs of the tables that contain runs of a task."""
    links = []
    for table in sorted(names("table"), key=by_number):
        config = group_file("table", table)
        arms = [arm["set"] for arm in config.get("arms", ()) if isinstance(arm, Mapping)]
        if task in [*config.get("runs", {}).get("task", []), *(arm.get("task") for arm in arms)]:
            links.append(f"[{table}](../conf/table/{table}.yaml)")
    return f" Tables: {', '.join(links)}." if links else ""


def page() -> str:
    leading = [name for name in names("sampler") if name not in ("none", "external")]
    samplers = {name: plugin("sampler", "samplers", name) for name in leading}
    tasks = {name: plugin("task", "tasks", name) for name in names("task")}
    rows = [line for name, task in tasks.items() for line in lines(name, task, samplers)]
    words = [f"- `{name}`: {line}{results(name)}" for name, line in listing("task").items()]
    return INTRO + HEAD + "\n".join(rows) + "\n" + NOTES + "\n".join(words) + "\n" + references()


def references() -> str:
    """The papers of tasks, samplers, models, data sets and metrics, each with what it describes."""
    named: dict[str, list[str]] = {}
    papers = {}
    for group in ("task", "sampler", "model", "data", "metric"):
        for name, paper in citations(group).items():
            papers[paper.key] = paper
            named.setdefault(paper.key, []).append(f"`{group}={name}`")
    lines = [f"- [{key}] {papers[key]}: {', '.join(named[key])}" for key in sorted(papers)]
    return REFERENCES + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
