"""Names the examples whose prompts a model does not read as they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sde_edit.api.model import PromptReading, ReadsPrompts
from sde_edit.editing.batch import prompts
from sde_edit.errors import shortened

if TYPE_CHECKING:
    from sde_edit.api.example import Example
    from sde_edit.api.experiment import Experiment

_NAMED = 3  # examples in a notice
_TEXT = 100  # characters of each
Read = tuple[str, PromptReading]  # example and one of its prompts, as it is read


def prompts_of(experiment: Experiment, example: Example) -> list[str]:
    """The texts that the task makes of an example: one for each of its prompt templates."""
    templates = [v for key, v in experiment.spec.task.params.items() if key.endswith("prompt")]
    return [prompts(template, [example])[0] for template in templates]


def read_prompts(experiment: Experiment, texts: Iterable[tuple[str, str]]) -> list[Read]:
    """How the model reads the prompts, by example; loads the tokenizer alone, if the model has one.

    texts: (example, prompt) for every prompt of every example.
    """
    source, found = experiment.source, sorted(texts)
    if not isinstance(source, ReadsPrompts) or not found:
        return []
    readings = source.read_prompts([prompt for _, prompt in found])
    return [(example, reading) for (example, _), reading in zip(found, readings, strict=True)]


def cut_examples(read: Iterable[Read]) -> frozenset[str]:
    """The examples that have a prompt which is longer than what the model reads."""
    return frozenset(example for example, reading in read if reading.cut)


def prompt_notices(experiment: Experiment, read: Sequence[Read]) -> list[str]:
    """What of the prompts has no influence on the images."""
    model = f"model={experiment.spec.model.name}"
    cut = f"have a prompt that is too long for {model}; what follows is not read"
    unknown = f"have a prompt with characters that {model} does not know"
    return [*_notice(read, cut, _cut), *_notice(read, unknown, _unknown)]


def _cut(reading: PromptReading) -> str:
    return reading.cut


def _unknown(reading: PromptReading) -> str:
    return reading.unknown


def _notice(read: Sequence[Read], what: str, lost: Callable[[PromptReading], str]) -> list[str]:
    """One line on the examples that lose something; none if no example does."""
    losing = {example: lost(reading) for example, reading in read if lost(reading)}
    if not losing:
        return []
    first = list(losing.items())[:_NAMED]
    shown = [f"{example} {shortened(text, _TEXT)!r}" for example, text in first]
    more = [f"and {len(losing) - _NAMED} more"] if len(losing) > _NAMED else []
    total = len({example for example, _ in read})
    return [f"{len(losing)} of {total} examples {what}: {', '.join([*shown, *more])}"]
