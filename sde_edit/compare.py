"""Sealed runs as numbers: which runs a table means, and how two of them differ.

A spec is addressed by dotted keys, the same that override it on the command line: `task` is the
name of the task, `task.guidance` one of its settings, `steps` a plain field; `.kind`, `.version`
and `.digest` of a choice are keys too.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sde_edit.registry import suggest
from sde_edit.report import Cell, Verdict
from sde_edit.store import Run, canonical
from sde_edit.types import Choice, RunSpec, UserError

Setting = str | int | float | bool | None
Cost = Literal["evaluations", "calls", "seconds"]

_OVERRIDES = {"spacing": "grid.spacing", "last_sigma": "grid.last_sigma"}
FACTS = ("kind", "version", "digest")  # of a choice; they follow from it and override nothing


# ------------------------------------------------------------------ what a sealed run says


@dataclass(frozen=True)
class Measurement:
    """A stored score; replicates [B] are its values under the common bootstrap resamplings.
    per_example: id -> value, where it has one for each image.
    """

    value: float
    low: float
    high: float
    n: int
    replicates: NDArray[np.float64]
    higher_is_better: bool
    convention: str
    per_example: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Measured:
    """A sealed run, read once. n of `of` images. seconds, evaluations, calls: means per
    image; a call of the network counts for every image of its batch. None: not known.
    machines: what its processes ran on and how, which is what seconds depend on."""

    id: str
    spec: RunSpec
    n: int
    of: int
    examples: frozenset[str]
    scores: Mapping[str, Measurement]
    seconds: float | None
    evaluations: float | None
    calls: float | None
    devices: tuple[str, ...]
    machines: tuple[str, ...]


def measured(run: Run) -> Measured | None:
    """None if the run is not sealed.

    Raises UserError for a score that is not finite, or if images were lost since the sealing.
    """
    seal = run.seal
    if seal is None:
        return None
    rows = list(run.rows().values())
    if len(rows) < seal.n:
        raise UserError(
            f"run {run.id} was sealed with {seal.n} images, {len(rows)} of them are in {run.path}. "
            "Its `sde-edit run` command makes the others again"
        )
    return Measured(
        id=run.id,
        spec=run.spec,
        n=seal.n,
        of=seal.of,
        examples=frozenset(row.id for row in rows),
        scores={name: _measurement(raw, run) for name, raw in run.scores().items()},
        seconds=_mean_cost([row.seconds for row in rows]),
        evaluations=_mean_cost([row.evaluations for row in rows]),
        calls=_mean_cost([row.calls for row in rows]),
        devices=tuple(sorted({row.device for row in rows if row.device})),
        machines=_machines(run),
    )


def _machines(run: Run) -> tuple[str, ...]:
    """Of the processes that made images."""
    said = [
        f"{facts['device']} ({facts['device_name']}), {facts['threads']} threads, batches of "
        f"{facts['batch_size']}{', compiled' if facts['compile'] else ''}"
        for facts in run.attempts()
        if facts["images"]
    ]
    return tuple(sorted(set(said)))


def _mean_cost(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) / len(known) if len(known) == len(costs) else None


def finished(run: Run) -> Measured:
    """As `measured`, of a run that must be sealed. Raises UserError if it is not."""
    found = measured(run)
    if found is None:
        raise UserError(f"run {run.id} is not finished; its `sde-edit run` command goes on with it")
    return found


def _measurement(raw: Mapping[str, Any], run: Run) -> Measurement:
    numbers = [raw["value"], raw["low"], raw["high"], *raw["replicates"]]
    if not all(number is not None and math.isfinite(number) for number in numbers):
        raise UserError(
            f"run {run.id}: {raw['metric']} is not finite (value {raw['value']}, interval "
            f"{raw['low']} to {raw['high']}). Look at {run.path}, then remove its file of this "
            f"metric in metrics/ and evaluate again"
        )
    return Measurement(
        value=float(raw["value"]),
        low=float(raw["low"]),
        high=float(raw["high"]),
        n=int(raw["n"]),
        replicates=np.asarray(raw["replicates"], dtype=np.float64),
        higher_is_better=bool(raw["higher_is_better"]),
        convention=str(raw["convention"]),
        per_example=raw["per_example"],
    )


# ------------------------------------------------------------------ choosing runs


def says(spec: RunSpec, key: str) -> bool:
    """Whether the key had a part in the images. In those made elsewhere only the task's name, the
    data and the choice of images had one; they stand beside any network, steps and seed.
    """
    return not spec.made_elsewhere or key == "task" or key.partition(".")[0] in ("sampler", "data")


def flatten(spec: RunSpec) -> dict[str, Any]:
    """The spec by dotted key, of all that it says."""
    flat: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, Choice):
            facts = {fact: getattr(value, fact) for fact in FACTS}
            flat[field.name] = value.name
            flat |= _dotted(field.name, {**facts, **value.params})
        else:
            flat[_OVERRIDES.get(field.name, field.name)] = value
    return {key: value for key, value in flat.items() if says(spec, key)}


def _dotted(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        flat |= _dotted(f"{prefix}.{key}", value) if inner else {f"{prefix}.{key}": value}
    return flat


def differing(a: RunSpec, b: RunSpec) -> dict[str, tuple[Any, Any]]:
    """Key -> its two values, where two specs differ; None where one lacks the key.

    What follows from another name, as the kind of another sampler, is left out, and so is what one
    of them says nothing of.
    """
    left, right = flatten(a), flatten(b)
    common = [key for key in left | right if says(a, key) and says(b, key)]
    keys = [key for key in common if left.get(key) != right.get(key)]
    told = [key for key in keys if key.rpartition(".")[2] not in FACTS]
    facts = [key for key in keys if key not in told and key.rpartition(".")[0] not in told]
    return {key: (left.get(key), right.get(key)) for key in [*told, *facts]}


def command(verb: str, overrides: Mapping[str, Setting]) -> str:
    """The shell command that does `verb` to the run of these overrides."""
    given = {k: v for k, v in overrides.items() if k.rpartition(".")[2] not in FACTS}
    words = (shlex.quote(f"{key}={literal(value)}") for key, value in given.items())
    return " ".join(["sde-edit", verb, *words])


def literal(value: Setting | Sequence[Setting]) -> Setting:
    """A value as an override writes it: a list in brackets, None as null."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return "null" if value is None else value  # type: ignore[return-value]


def matches(spec: RunSpec, allowed: Mapping[str, Sequence[Setting]]) -> bool:
    """Whether the spec has one of the allowed values at every key that it says something of."""
    flat = flatten(spec)
    asked = {key: values for key, values in allowed.items() if says(spec, key)}
    return all(key in flat and flat[key] in values for key, values in asked.items())


def check_where(where: Mapping[str, Setting], runs: Sequence[Run]) -> None:
    """Raises UserError for a key of `where` that no run's spec has."""
    known = sorted({key for run in runs for key in flatten(run.spec)})
    for key in where:
        if known and key not in known:
            raise UserError(f"where: no run has a setting {key!r}.{suggest(key, known)}")


def check_uniform(runs: Sequence[Measured], depends: Mapping[str, str]) -> None:
    """Raises UserError, with the run ids and the remedy, unless the runs are of one experiment.

    depends: part of the spec -> key on which it may depend. {'data': 'data.masks'} lets runs with
    different masks differ in all of `data`; parts that are not named must be equal everywhere.
    """
    conflicts: dict[str, dict[str, list[str]]] = {}
    for key in sorted({key for run in runs for key in flatten(run.spec)}):
        part = key.partition(".")[0]
        if part in conflicts:
            continue  # another model differs in its digest too; its name says enough
        for group in _grouped(runs, depends.get(part)):
            values = _values(group, key)
            if len(values) > 1:
                conflicts.setdefault(key, {}).update(values)
    if conflicts:
        raise UserError(_conflict_message(conflicts))


def check_equal(runs: Sequence[Measured], varying: Collection[str]) -> None:
    """Raises UserError, with the run ids and the remedy, if the runs differ in a part of the spec
    other than those that may vary.
    """
    conflicts: dict[str, dict[str, list[str]]] = {}
    for key in sorted({key for run in runs for key in flatten(run.spec)}):
        part = key.partition(".")[0]
        if part not in varying and part not in conflicts and len(values := _values(runs, key)) > 1:
            conflicts[key] = values
    if conflicts:
        raise UserError(_conflict_message(conflicts))


def _grouped(runs: Sequence[Measured], key: str | None) -> list[list[Measured]]:
    groups: dict[str, list[Measured]] = {}
    for run in runs:
        label = canonical(flatten(run.spec).get(key)) if key else ""
        groups.setdefault(label, []).append(run)
    return list(groups.values())


def _values(runs: Sequence[Measured], key: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run in runs:
        if says(run.spec, key):
            found.setdefault(canonical(flatten(run.spec).get(key)), []).append(run.id)
    return found


def _conflict_message(conflicts: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    lines = []
    for key, values in conflicts.items():
        parts = (f"{value} (runs {', '.join(ids)})" for value, ids in values.items())
        lines.append(f"  {key}: {'; '.join(parts)}")
    key, values = next(iter(conflicts.items()))
    example = f"where: {{{key}: {next(iter(values))}}}"
    return (
        "the runs that fit this table are of more than one experiment; they differ in\n"
        + "\n".join(lines)
        + f"\nChoose one in the table's config, for example `{example}`"
    )


# ------------------------------------------------------------------ cells


def score_cell(run: Measured, metric: str) -> Cell:
    """Value, interval and n. Raises KeyError if the run lacks the metric."""
    score = run.scores[metric]
    return of_several(Cell(score.value, score.low, score.high, score.n, run.of, (run.id,)))


def of_several(cell: Cell) -> Cell:
    """The cell; without interval and undecided if it is of one example, which has no spread."""
    if cell.n != 1:
        return cell
    return replace(cell, low=None, high=None, verdict="undecided" if cell.verdict else "")


def cost_cell(runs: Sequence[Measured], cost: Cost) -> Cell:
    """The mean cost of an image over runs; a missing one if there is no run, or it is not known."""
    costs = [getattr(run, cost) for run in runs]
    if not costs or None in costs:
        return Cell()
    ids = tuple(run.id for run in runs)
    return Cell(sum(costs) / len(costs), n=runs[0].n, of=runs[0].of, runs=ids)


def centred_interval(value: float, replicates: NDArray[np.float64]) -> tuple[float, float]:
    """95 %: the value plus the quantiles of its bootstrap replicates about their mean.

    Centred, because resampling biases a distance of distributions upwards.
    """
    low, high = np.quantile(replicates - replicates.mean(), [0.025, 0.975])
    return value + float(low), value + float(high)


def difference_cell(
    ours: Sequence[Measured], theirs: Sequence[Measured], metric: str
) -> Cell | str:
    """Ours - theirs with its paired interval and a verdict on ours; where they cannot be paired,
    why. Several runs on a side, as those of three seeds, stand for their mean.

    The interval is the difference + quantiles of the centred differences of the replicates:
    centred, because bootstrap values of a Frechet distance lie above the value itself.
    """
    first, *others = [*ours, *theirs]
    score = first.scores[metric]
    for other in others:
        who, rival = f"runs {first.id} and {other.id}", other.scores[metric]
        if other.examples != first.examples or rival.n != score.n:
            return f"{who} hold different examples"
        if rival.replicates.shape != score.replicates.shape:
            return f"{who} have different numbers of bootstrap resamplings"
    (left, left_replicates), (right, right_replicates) = (_mean(g, metric) for g in (ours, theirs))
    value = left - right
    low, high = centred_interval(value, left_replicates - right_replicates)
    verdict = verdict_of(low, high, higher_is_better=score.higher_is_better)
    ids = tuple(run.id for run in [first, *others])
    return of_several(Cell(value, low, high, score.n, first.of, ids, verdict))


def _mean(runs: Sequence[Measured], metric: str) -> tuple[float, NDArray[np.float64]]:
    """Value and replicates, averaged over runs."""
    scores = [run.scores[metric] for run in runs]
    replicates: NDArray[np.float64] = np.mean([score.replicates for score in scores], axis=0)
    return float(np.mean([score.value for score in scores])), replicates


def verdict_of(low: float, high: float, *, higher_is_better: bool) -> Verdict:
    """Of an interval of a difference."""
    if low <= 0 <= high:
        return "undecided"
    return "better" if (low > 0) == higher_is_better else "worse"


def common_convention(metric: str, runs: Sequence[Measured]) -> tuple[str, bool]:
    """Convention and direction of a metric. Raises UserError if the runs disagree in them."""
    found: dict[tuple[str, bool], list[str]] = {}
    for run in runs:
        score = run.scores[metric]
        found.setdefault((score.convention, score.higher_is_better), []).append(run.id)
    if len(found) > 1:
        parts = (f"{text!r} (runs {', '.join(ids)})" for (text, _), ids in found.items())
        raise UserError(
            f"{metric} was measured by different conventions: {'; '.join(parts)}. Evaluate these "
            "runs again with one of them"
        )
    return next(iter(found))


def metrics_of(runs: Sequence[Measured]) -> list[str]:
    """All metrics of the runs, in the order of their first appearance."""
    return list(dict.fromkeys(name for run in runs for name in run.scores))


def ranked(values: Mapping[str, float]) -> list[str]:
    """Ids, that of the highest value first; equal ones by id."""
    return sorted(values, key=lambda i: (-values[i], i))


# ------------------------------------------------------------------ what the runs were made with


def settings_notes(runs: Sequence[Measured]) -> list[str]:
    """One line for each part of the specs, naming every setting."""
    notes = []
    for part in ("model", "task", "sampler", "data"):
        choices = dict.fromkeys(described(getattr(run.spec, part)) for run in runs)
        notes.append(f"{part.capitalize()}: {'; '.join(choices)}.")
    for label, key in (("Grid spacing", "spacing"), ("last sigma", "last_sigma"),
                       ("dtype", "dtype"), ("seed", "seed")):  # fmt: skip
        asked = [run.spec for run in runs if says(run.spec, key)]
        values = dict.fromkeys(str(getattr(spec, key)) for spec in asked)
        notes += [f"{label} {', '.join(values)}"] if values else []
    elsewhere = dict.fromkeys(run.spec.sampler.name for run in runs if run.spec.made_elsewhere)
    brought_in = [f"Images made elsewhere: {', '.join(elsewhere)}."] if elsewhere else []
    return [*notes[:4], *(["; ".join(notes[4:]) + "."] if notes[4:] else []), *brought_in]


def described(choice: Choice) -> str:
    """Name, version, digest and settings; the name alone of what had no part in the images."""
    if not choice.version:
        return choice.name
    digest = f", digest {choice.digest[:12]}" if choice.digest else ""
    params = _dotted("", choice.params)
    settings = ", ".join(f"{key[1:]} {_shown(value)}" for key, value in params.items())
    return f"{choice.name} (version {choice.version}{digest})" + (settings and f" with {settings}")


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)
