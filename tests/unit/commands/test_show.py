"""What a choice can be set to, and where the values of a config come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from click.testing import CliRunner
from pydantic import Field

from sde_edit.cli import main
from sde_edit.commands.show import composed_values, describe_choice, type_words
from sde_edit.config import compose_config
from sde_edit.errors import UserError
from sde_edit.registry import groups, names


def show(*arguments: str, code: int = 0) -> str:
    outcome = CliRunner().invoke(main, ["show", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


@pytest.mark.parametrize("group", groups())
def test_every_choice_is_explained_with_all_its_settings(group: str) -> None:
    for name in names(group):
        text = show(f"{group}={name}")
        assert text.startswith(f"{group}={name}")
        for setting in describe_choice(group, name).settings:
            assert f"{setting.key}={setting.default}" in text
            assert setting.meaning, setting.key


def test_a_setting_has_default_type_and_meaning() -> None:
    of = {setting.key: setting for setting in describe_choice("task", "drag").settings}
    assert of["task.t_0"].default == "0.6"
    assert of["task.r"].type == "whole number or null"
    assert of["task.pairs"].type == "together | sequence"
    assert "in cells" in of["task.r"].meaning
    assert of["task.lora_steps"].meaning == (
        "steps of the LoRA fit that adapts the network to each image first; 0: no LoRA"
    )


def test_a_default_that_depends_on_the_model_is_that_of_the_default_run() -> None:
    of = {setting.key: setting for setting in describe_choice("task", "diffedit").settings}
    for key in ("guidance", "source_guidance"):
        expected = compose_config(["task=diffedit"])["task"][key]
        assert of[f"task.{key}"].default == str(expected)
        assert "Shown for the default model and data" in of[f"task.{key}"].meaning


def test_a_setting_that_the_yaml_leaves_out_has_the_default_of_its_plug_in() -> None:
    of = {setting.key: setting for setting in describe_choice("data", "coco").settings}
    assert (of["data.side"].default, of["data.side"].type) == ("short", "short | long")
    assert of["data.limit"].meaning == "number of examples, the first ones; null: all"


@dataclass
class Own:
    pass


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "whole number"),
        (float | None, "number or null"),
        (Annotated[int, Field(ge=1)], "whole number, at least 1"),
        (Annotated[float, Field(gt=0, lt=1)], "number, above 0, below 1"),
        (Literal["a", "b"], "a | b"),
        (dict[str, float], "mapping"),
        (tuple[int, ...], "list"),
        (Own, "mapping"),
    ],
)
def test_types_in_words(hint: object, words: str) -> None:
    assert type_words(hint) == words


def test_every_value_of_a_config_says_what_set_it() -> None:
    overrides = ["experiment=diffedit_bison_sd15", "sampler=ode", "task.t_0=0.4", "seed=3"]
    source = {value.key: value.source for value in composed_values(overrides)}
    assert source["steps"] == "experiment=diffedit_bison_sd15"
    assert source["task.t_0"] == source["seed"] == "command line"
    assert source["task.guidance"] == "conf/task/diffedit.yaml"
    assert source["model.path"] == "conf/model/sd15.yaml"
    assert source["sampler.name"] == "conf/sampler/ode.yaml"
    assert source["grid.spacing"] == "conf/config.yaml"
    values = {value.key: value.value for value in composed_values(overrides)}
    assert values["steps"] == "100"
    assert values["metrics"] == "[fid,source_lpips,clip]"


def test_the_whole_config_is_shown() -> None:
    lines = show("task=inpaint", "seed=3").splitlines()
    keys = [line.split()[0] for line in lines]
    config = compose_config(["task=inpaint", "seed=3"])
    assert {key.partition(".")[0] for key in keys} == set(config)
    assert any(line.startswith("seed ") and line.endswith("# command line") for line in lines)
    assert show().splitlines()


@pytest.mark.parametrize(
    ("word", "message"),
    [("task=drga", "Did you mean 'drag'"), ("tsk=drag", "Did you mean 'task'")],
)
def test_what_is_not_there_is_named(word: str, message: str) -> None:
    assert message in show(word, code=1)
    with pytest.raises(UserError, match="Did you mean"):
        describe_choice(*word.split("="))
