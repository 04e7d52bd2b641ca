"""Prompts that a model does not read as they are written are named before it works."""

import pytest

from sde_edit.commands.run import run_all
from sde_edit.config import experiment
from sde_edit.engine.plan import plan_run
from sde_edit.engine.producer import inspect_missing
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.networks.prompts import load_tokenizer
from sde_edit.report.cells import settings_notes
from sde_edit.report.results import load_finished

LONG = "a red circle and a blue square and a green star and a grey moon"


def asked(*overrides):
    return experiment(["task=sample", "metrics=[]", "data.limit=5", *overrides])


def notices(caplog, *experiments):
    caplog.clear()
    inspect_missing([(one, plan_run(one, None)) for one in experiments])
    return [record.getMessage() for record in caplog.records]


def reading(prompt):
    (found,) = StableDiffusion("embedded:shapes", 64).read_prompts([prompt])
    return found


def test_what_lies_beyond_the_limit_is_not_read():
    found = reading(LONG)
    assert found.cut
    assert LONG.endswith(found.cut)
    read = LONG.removesuffix(found.cut)
    assert not reading(read).cut
    model = StableDiffusion("embedded:shapes", 64).load("cpu", "float32")
    assert bool((model.embed([LONG]) == model.embed([read + "other words"])).all())


def test_unknown_characters_are_named_once():
    assert reading("a ★ red ★ ü circle").unknown == "★ü"
    assert reading("a red circle").unknown == ""
    assert reading("").cut == ""


def test_examples_whose_prompts_are_cut_are_named_with_what_is_lost(caplog):
    (notice,) = notices(caplog, asked(f"task.prompt='{LONG}'"))
    assert notice.startswith("5 of 5 examples have a prompt that is too long for model=shapes")
    assert "test-000000 'moon'" in notice
    assert notice.endswith("and 2 more")
    (notice,) = notices(caplog, asked("task.prompt='a ★'"))
    assert "characters that model=shapes does not know" in notice
    assert "'★'" in notice


def test_an_image_is_stored_with_whether_its_prompt_was_cut(tmp_path):
    """Of each run, though runs of a sweep are inspected together."""
    own = ["data.limit=2", "steps=1", f"paths.results={tmp_path}"]
    some, none = (asked(f"task.prompt='{text}'", *own) for text in ("the {caption} here", "a ring"))
    first, second = run_all([some, none])
    assert {i: row.cut for i, row in first.rows().items()} == {
        "test-000000": True,
        "test-000001": False,
    }
    assert not any(row.cut for row in second.rows().values())
    (note,) = [note for note in settings_notes([load_finished(first)]) if "cut" in note]
    assert note.endswith("1 of 2 images in one run.")


def test_a_notice_shows_the_beginning_of_what_is_lost(caplog):
    (notice,) = notices(caplog, asked(f"task.prompt='{'a red star ' * 5000}'"))
    assert len(notice) < 600


def test_a_negative_prompt_is_read_as_well(caplog):
    (notice,) = notices(caplog, asked("task.prompt=a", f"task.negative_prompt='{LONG}'"))
    assert "too long" in notice


def test_a_sweep_says_it_once(caplog):
    runs = [asked(f"task.prompt='{LONG}'", f"steps={n}") for n in (5, 10)]
    assert len(notices(caplog, *runs)) == 1


@pytest.mark.parametrize("task", ["inpaint", "sample"])
def test_the_embedded_data_fits_the_embedded_model(task, caplog):
    assert notices(caplog, asked(f"task={task}")) == []


def test_a_model_without_a_tokenizer_has_nothing_to_say(caplog):
    assert notices(caplog, asked("model=gmm", "model.shape=[3,64,64]", "task.prompt=red")) == []


def test_a_damaged_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text("{")
    (tmp_path / "tokenizer/tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match="tokenizer cannot be read"):
        load_tokenizer(tmp_path)
