"""Tasks say which data sets fit them, and braces in a caption stay text."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from sde_edit.api.example import Example
from sde_edit.cli import main
from sde_edit.config import data_set, experiment
from sde_edit.editing.batch import HAVING, prompts
from sde_edit.engine.plan import plan_run
from sde_edit.engine.producer import inspect_missing
from sde_edit.errors import UserError
from sde_edit.registry import names

EMBEDDED = [name for name in names("data") if name.startswith("shapes")]
PIXELS = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize("lacking", HAVING)
def test_the_data_sets_that_a_message_names_have_what_it_promises(lacking):
    named = re.findall(r"[\w-]+", HAVING[lacking].partition(";")[0])
    assert {*named} <= {*names("data")}
    assert {name for name in EMBEDDED if _first(name, lacking)} <= {*named}
    assert all(_first(name, lacking) for name in EMBEDDED if name in named)


def _first(name, lacking):
    """Whether the first example of an embedded data set has what others lack."""
    _, dataset = data_set([f"data={name}", "data.n=1"])
    found = getattr(dataset.load(dataset.ids()[0]), lacking)
    return found is not None and len(found) > 0


@pytest.mark.parametrize(
    ("overrides", "fitting"),
    [
        (["task=drag"], "shapes-drags"),
        (["task=drag_diffusion", "sampler=ode"], "shapes-drags"),
        (["task=region_drag"], "shapes-drags"),
        (["task=diffedit"], "shapes-edits"),
        (["task=p2p"], "shapes-edits"),
        (["task=inpaint", "data=shapes-drags"], "shapes-object-edits"),
    ],
)
def test_data_that_do_not_fit_a_task_are_refused_with_those_that_do(overrides, fitting, tmp_path):
    small = ["steps=2", "data.limit=1", "metrics=psnr", f"paths.results={tmp_path}"]
    outcome = CliRunner().invoke(main, ["run", *overrides, *small])
    assert outcome.exit_code == 1
    assert fitting in outcome.output


def test_a_word_that_no_prompt_has_is_refused(tmp_path):
    word = "+task.reweight.zebra=2"
    small = ["steps=2", "data.n=2", "metrics=psnr", f"paths.results={tmp_path}"]
    outcome = CliRunner().invoke(main, ["run", "task=p2p", "data=shapes-edits", word, *small])
    assert outcome.exit_code == 1
    assert "task.reweight.zebra: no target prompt has this word" in outcome.output
    assert not list(tmp_path.rglob("*.png"))


def test_words_that_only_later_examples_have_are_taken_with_a_limit():
    every = "circle square triangle star cross ring"
    asked = ["task=p2p", "data=shapes-object-edits", f"task.blend_words='{every}'", "metrics=[]"]
    few = experiment([*asked, "data.limit=1"])
    assert inspect_missing([(few, plan_run(few, None))])
    whole = experiment([*asked, "data.n=1"])
    with pytest.raises(UserError, match=r"task\.blend_words: no prompt has the word"):
        inspect_missing([(whole, plan_run(whole, None))])


def test_braces_in_a_caption_stay_text():
    example = Example("a", PIXELS, caption="a {target} {caption}", target="{caption} {}")
    assert prompts("{caption} | {target} {", [example]) == ["a {target} {caption} | {caption} {} {"]


@pytest.mark.parametrize("field", ["{foo}", "{}", "{Caption}", "{caption!r}"])
def test_a_field_that_no_example_has_is_refused_with_those_that_there_are(field):
    example = Example("a", PIXELS, caption="a {foo}", target="b")
    said = f"'a {field}' asks for {field}, which no example has; a has {{caption}}, {{target}}"
    with pytest.raises(UserError, match=re.escape(said)):
        prompts(f"a {field}", [example])


@pytest.mark.parametrize(
    ("task", "key"),
    [
        *((t, "prompt") for t in ("inpaint", "drag", "p2p", "sample")),
        *(("inpaint", "negative_prompt"), ("hedit", "source_prompt"), ("p2p", "blend_words")),
    ],
)
def test_an_unknown_field_is_refused_before_the_network(task, key):
    data = "shapes-drags" if task == "drag" else "shapes-edits"
    asked = [f"task={task}", f"data={data}", f"task.{key}='a {{foo}}'", "data.limit=1"]
    one = experiment([*asked, "sampler=sde", "metrics=[]"])
    with pytest.raises(UserError, match=r"'a \{foo\}' asks for \{foo\}"):
        inspect_missing([(one, plan_run(one, None))])


@pytest.mark.parametrize("task", ["inpaint", "reconstruct", "sample"])
def test_a_negative_prompt_asks_for_texts_as_any_other_does(task):
    asked = [f"task={task}", "data=shapes", "task.negative_prompt='{target}'", "data.limit=1"]
    one = experiment([*asked, "sampler=sde", "metrics=[]"])
    with pytest.raises(UserError, match="negative_prompt asks for a target"):
        inspect_missing([(one, plan_run(one, None))])
