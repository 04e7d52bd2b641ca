"""Selects the runs of a table, and finds how two runs differ.

A spec is addressed by dotted keys, the same that override it on the command line: `task` is the
name of the task, `task.guidance` one of its settings, `steps` a plain field. `.kind`, `.version`
and `.digest` of a component are keys too.

A setting that run ids leave out at its default is selected by the value that the spec states
(`RunSpec.defaults`). Runs that older versions stored state none, and no value of such a key selects
them, until `sde-edit run` or `sweep` comes across them and completes their specs. Two runs are
compared by what their ids cover: there, a key that both leave out is equal in both.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sde_edit.api.override import override
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.errors import UserError
from sde_edit.registry import suggest
from sde_edit.report.results import RunResult
from sde_edit.store.files import canonical
from sde_edit.store.runs import Run

Setting = str | int | float | bool | None
_OVERRIDES = {"spacing": "grid.spacing", "last_sigma": "grid.last_sigma"}

# Attributes that follow from the kind of a component; they cannot be overridden.
COMPONENT_ATTRS = ("kind", "version", "digest")


def specifies(spec: RunSpec, key: str) -> bool:
    """Whether `key` influenced the images.

    For external images only the task's name, the data and the outputs are known. Such a run matches
    any network, steps and seed.
    """
    return not spec.is_external or key == "task" or key.partition(".")[0] in ("sampler", "data")


def flatten(spec: RunSpec) -> dict[str, Any]:
    """The spec by dotted key, without the keys that did not influence the images."""
    flat = identity(spec)
    for component, own in spec.defaults.items():
        flat |= dotted(component, own)
    return {key: value for key, value in flat.items() if specifies(spec, key)}


def identity(spec: RunSpec) -> dict[str, Any]:
    """As `flatten`, without the settings that the run id leaves out at their defaults."""
    flat: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, ComponentSpec):
            attributes = {name: getattr(value, name) for name in COMPONENT_ATTRS}
            flat[field.name] = value.name
            flat |= dotted(field.name, {**attributes, **value.params})
        elif field.name != "defaults":
            flat[_OVERRIDES.get(field.name, field.name)] = value
    return {key: value for key, value in flat.items() if specifies(spec, key)}


def dotted(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted key below `prefix`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        flat |= dotted(f"{prefix}.{key}", value) if inner else {f"{prefix}.{key}": value}
    return flat


def diff_specs(a: RunSpec, b: RunSpec) -> dict[str, tuple[Any, Any]]:
    """Key -> its values in two specs that differ there; None where one lacks the key.

    Leaves out what follows from a different name, such as the kind of another sampler, and keys
    that did not influence the images of one of the runs.
    """
    left, right = identity(a), identity(b)
    common = [key for key in left | right if specifies(a, key) and specifies(b, key)]
    keys = [key for key in common if left.get(key) != right.get(key)]
    settings = [key for key in keys if key.rpartition(".")[2] not in COMPONENT_ATTRS]
    attributes = [
        key for key in keys if key not in settings and key.rpartition(".")[0] not in settings
    ]
    shown = flatten(a), flatten(b)
    return {key: (shown[0].get(key), shown[1].get(key)) for key in [*settings, *attributes]}


def varying(specs: Sequence[RunSpec]) -> list[str]:
    """The keys that tell runs apart, in the order of the spec, names of components first.

    A component's settings count only among runs with a component of the same name, where one that
    a run lacks has its default; its kind, version and digest only among runs that all its settings
    leave alike.
    """
    flats = [(spec, identity(spec)) for spec in specs]
    keys = list(dict.fromkeys(key for _, flat in flats for key in flat))
    found = [key for key in keys if _varies(key, flats, keys)]
    return sorted(found, key=lambda key: "." in key)


def _varies(
    key: str, flats: Sequence[tuple[RunSpec, Mapping[str, Any]]], keys: Sequence[str]
) -> bool:
    component = key.partition(".")[0]
    alike: list[str] = [component] if key != component and component in keys else []
    if key.rpartition(".")[2] in COMPONENT_ATTRS:
        own = (k for k in keys if k.startswith(f"{component}."))
        alike += [k for k in own if k.rpartition(".")[2] not in COMPONENT_ATTRS]
    seen: dict[str, str] = {}
    for spec, flat in flats:
        if key in flat or (alike and specifies(spec, key)):
            group = canonical([flat.get(other) for other in alike])
            value = canonical([flat[key]] if key in flat else [])
            if seen.setdefault(group, value) != value:
                return True
    return False


def command(verb: str, overrides: Mapping[str, Setting | Sequence[Setting]]) -> str:
    """The shell command that applies `verb` to the run with these overrides."""
    given = {k: v for k, v in overrides.items() if k.rpartition(".")[2] not in COMPONENT_ATTRS}
    words = (shlex.quote(override(key, value)) for key, value in given.items())
    return " ".join(["sde-edit", verb, *words])


def matches(spec: RunSpec, allowed: Mapping[str, Sequence[Setting]]) -> bool:
    """Whether the spec has one of the allowed values at every key that influenced its images."""
    flat = flatten(spec)
    asked = {key: values for key, values in allowed.items() if specifies(spec, key)}
    return all(key in flat and flat[key] in values for key, values in asked.items())


def unstated(spec: RunSpec, allowed: Mapping[str, Sequence[Setting]]) -> list[str]:
    """The keys for want of which a spec does not match: settings that it does not state, though it
    matches in all others. Such a spec was stored by an older version."""
    flat = flatten(spec)
    stated = {key: values for key, values in allowed.items() if key in flat}
    lacking = [key for key in allowed if key not in flat and specifies(spec, key)]
    return lacking if matches(spec, stated) else []


def check_where(where: Mapping[str, Setting], runs: Sequence[Run]) -> None:
    """Raises UserError for a key of `where` that no run's spec has."""
    known = sorted({key for run in runs for key in flatten(run.spec)})
    for key in where:
        if known and key not in known:
            raise UserError(f"where: no run has a setting {key!r}.{suggest(key, known)}")


def check_uniform(
    runs: Sequence[RunResult],
    depends: Mapping[str, Sequence[str]],
    *,
    varying: Collection[str] = (),
) -> None:
    """Raises UserError with the run ids and the remedy unless the runs are of one experiment.

    depends: part of the spec -> keys on which it may depend; {'data': ['data.masks']} lets runs
    with different masks differ in all of `data`. varying: parts that may differ without
    restriction. All other parts must be equal everywhere.
    """
    conflicts: dict[str, dict[str, list[str]]] = {}
    for key in sorted({key for run in runs for key in identity(run.spec)}):
        part = key.partition(".")[0]
        if part in conflicts or part in varying:
            continue  # another model differs in its digest too; its name says enough
        for group in _grouped(runs, depends.get(part, ())):
            values = _values(group, key)
            if len(values) > 1:
                conflicts.setdefault(key, {}).update(values)
    if conflicts:
        raise UserError(_conflict_message(conflicts))


def _grouped(runs: Sequence[RunResult], keys: Sequence[str]) -> list[list[RunResult]]:
    """Runs with equal values at the keys, together."""
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        flat = identity(run.spec)
        groups.setdefault(canonical([flat.get(key) for key in keys]), []).append(run)
    return list(groups.values())


def _values(runs: Sequence[RunResult], key: str) -> dict[str, list[str]]:
    """The values of a key that differ in what run ids cover -> the ids of their runs."""
    found: dict[str, list[RunResult]] = {}
    for run in runs:
        if specifies(run.spec, key):
            found.setdefault(canonical(identity(run.spec).get(key)), []).append(run)
    shown = ((_shown(key, group), group) for group in found.values())
    return {value: [run.id for run in group] for value, group in shown}


def _shown(key: str, runs: Sequence[RunResult]) -> str:
    """The value of a key in runs that agree in it; null if none states it."""
    flats = (flatten(run.spec) for run in runs)
    return canonical(next((flat[key] for flat in flats if key in flat), None))


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
