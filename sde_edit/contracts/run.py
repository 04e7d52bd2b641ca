"""`sde-edit test-plugin`: the contracts of all plug-ins of a folder, or of one, check by check."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import torch

from sde_edit import config
from sde_edit.api.model import Model
from sde_edit.api.sampler import Sampler
from sde_edit.commands.claims import claim_named
from sde_edit.contracts import datasets, metrics, models, samplers, tables, tasks
from sde_edit.contracts.check import BrokenContract, require
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.places import Place, use_folder
from sde_edit.registry import build, configs, listing, plugin_group
from sde_edit.report.claims import Claim

Check = Callable[[Any], None]


@dataclass(frozen=True)
class Outcome:
    """A check of a plug-in; problem: "" if it passed."""

    subject: str
    check: str
    problem: str

    def __str__(self) -> str:
        state = "FAILED" if self.problem else "ok"
        line = f"{state:<7} {self.subject}: {self.check}"
        return f"{line}\n        {self.problem}" if self.problem else line


def outcomes(word: str, overrides: Sequence[str]) -> Iterator[Outcome]:
    """Run the checks one by one.

    word: a folder of plug-ins, whose code is run, or a name or kind of one that is found already.
    overrides: settings that the configs leave open, such as data.root=DIR. Raises UserError for a
    word that is neither.
    """
    if Path(word).is_dir():
        place = use_folder(Path(word))
        yield from _without_config(place)
        chosen = [(group, name) for group in _SUBJECTS for name in place.configs(group)]
    else:
        chosen = _named(word)
    for group, name in chosen:
        yield from _checked(group, name, overrides)


def _named(word: str) -> list[tuple[str, str]]:
    """The configs with this name, or else of this kind."""
    every = [(group, name) for group in _SUBJECTS for name in configs(group)]
    kinds = {one: str(config.group_file(*one).get("kind")) for one in every}
    found = [one for one in every if one[1] == word] or [o for o in every if kinds[o] == word]
    if not found:
        close = get_close_matches(word, [*(name for _, name in every), *kinds.values()], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{word!r} is no folder, and no name that `sde-edit list` shows.{hint}")
    return found


def _without_config(place: Place) -> Iterator[Outcome]:
    """A failure for each kind of a folder that no config of the folder names."""
    for group in _SUBJECTS:
        named = {config.group_file(group, name).get("kind") for name in place.configs(group)}
        for kind, file in place.kinds(str(plugin_group(group))).items():
            if kind not in named:
                said = f"{file} is named by no conf/{group}/*.yaml, so it cannot be chosen"
                yield Outcome(f"{group} kind {kind}", "a config names it", said)


def _checked(group: str, name: str, overrides: Sequence[str]) -> Iterator[Outcome]:
    subject_of, checks = _SUBJECTS[group]
    subject: list[Any] = []

    def check_builds(_: None) -> None:
        """it is described, and builds"""
        require(bool(listing(group)[name]), "its file has no docstring, and its config no comment")
        subject.append(subject_of(name, keyed(overrides, (f"{group}.", "paths."))))

    built = _outcome(f"{group} {name}", check_builds, None)
    yield built
    if not built.problem:
        for check in checks:
            yield _outcome(f"{group} {name}", check, subject[0])


def _outcome(subject_name: str, check: Check, subject: Any) -> Outcome:
    problem = ""
    try:
        check(subject)
    except (BrokenContract, UserError) as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - reported; a plug-in may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
    return Outcome(subject_name, (check.__doc__ or "").strip(), problem)


# ------------------------------------------------------------------ what is checked
def _sampler(name: str, overrides: Sequence[str]) -> Sampler:
    made = _built("sampler", name, overrides)
    if not isinstance(made, Sampler):
        raise UserError("it reads images that are made elsewhere; there is no contract for that")
    return made


def _task(name: str, overrides: Sequence[str]) -> tasks.Subject:
    return tasks.Subject(_built("task", name, overrides), _embedded_model())


@cache
def _embedded_model() -> Model:
    torch.set_flush_denormal(True)  # as in runs: denormal numbers slow a CPU down a hundredfold
    model: Model = _built("model", "shapes", ()).load("cpu", "float64")
    return model


def _metric(name: str, overrides: Sequence[str]) -> Any:
    named = config.metric(name)
    named.metric.load("cpu")
    return named.metric


def _model(name: str, overrides: Sequence[str]) -> models.Subject:
    return models.Subject(_built("model", name, overrides))


def _data(name: str, overrides: Sequence[str]) -> Any:
    return _built("data", name, overrides)


def _table(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    return config.group_file("table", name)


def _claim(name: str, overrides: Sequence[str]) -> Claim:
    return claim_named(name)


def _built(group: str, name: str, overrides: Sequence[str]) -> Any:
    raw = config.compose_config([f"{group}={name}", *overrides])[group]
    params = config.plugin_settings(group, raw)
    return build(str(plugin_group(group)), raw["kind"], params, under=f"{group}.")


_SUBJECTS: dict[str, tuple[Callable[[str, Sequence[str]], Any], tuple[Check, ...]]] = {
    "sampler": (_sampler, samplers.CHECKS),
    "task": (_task, tasks.CHECKS),
    "metric": (_metric, metrics.CHECKS),
    "data": (_data, datasets.CHECKS),
    "model": (_model, models.CHECKS),
    "table": (_table, tables.CHECKS),
    "claim": (_claim, ()),
}
