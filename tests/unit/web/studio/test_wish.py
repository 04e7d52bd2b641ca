"""What a page asks for is what its command gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands import edit
from sde_edit.errors import UserError
from sde_edit.registry import names
from sde_edit.web.studio.wish import TASKS, Wish, read_request
from tests.builders import box_mask, picture

BASE = ("model=shapes", "hardware.threads=1")
TYPES = {"steps": "whole number, at least 1", "task.negative_prompt": "text"}
INPAINT = Wish(photo="0", kind="inpaint", task="inpaint", sampler="sde", prompt="a 'lake'")
WORDS = Wish(
    photo="0",
    kind="prompt",
    task="p2p",
    sampler="both",
    prompt="a cat, {sitting}",
    target='a "dog"',
    settings={"steps": " 7", "task.negative_prompt": "5, six"},
)
DRAG = Wish(
    photo="0",
    kind="drag",
    task="drag",
    sampler="ode",
    prompt="$HOME",
    drags=(((1, 2), (3, 4)), ((5, 6), (7, 8))),
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    picture().save(tmp_path / "photo.png")
    box_mask().save(tmp_path / "mask.png")
    return tmp_path / "photo.png", tmp_path / "mask.png"


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("wish", [INPAINT, WORDS, DRAG])
def test_the_command_asks_for_the_same_edit(wish, masked, files, monkeypatch):
    photo, mask = files[0], files[1] if masked or wish.kind == "inpaint" else None
    asked: list[Any] = []

    def note(picture: Any, *, overrides: Any, **_: Any) -> list[Path]:
        asked.append((picture, overrides))
        return []

    monkeypatch.setattr(edit, "edit_picture", note)
    overrides = wish.overrides(BASE, TYPES)
    program, *words = wish.command(photo, mask, overrides)
    assert program == "sde-edit"
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 0, outcome.output
    own = wish.picture(photo, mask), edit.with_defaults(wish.kind, overrides)
    assert [json.dumps(one) for one in asked] == [json.dumps(own)]


def test_only_what_differs_from_the_command_is_an_override():
    assert INPAINT.overrides(BASE, TYPES) == [*BASE, "sampler=sde"]
    changed = ["task=p2p", "sampler=ode,sde", "steps=7", 'task.negative_prompt="5, six"']
    assert WORDS.overrides(BASE, TYPES) == [*BASE, *changed]


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("paths.cache", "/tmp", "no such setting"),
        ("plugins", "mine", "no such setting"),
        ("steps", "5,6", "'5,6' is not one value .whole number"),
        ("steps", "5 plugins=mine", "not one value"),
        ("steps", "[5", "not one value"),
    ],
)
def test_a_setting_is_one_value_of_a_key_that_the_page_offers(key, text, message):
    wish = INPAINT.model_copy(update={"settings": {key: text}})
    with pytest.raises(UserError, match=message):
        wish.overrides(BASE, TYPES)


@pytest.mark.parametrize(
    ("wish", "changes", "masked", "message"),
    [
        (INPAINT, {}, False, "Brush over what is to be repainted"),
        (INPAINT, {"prompt": " "}, True, "Say what the picture should show"),
        (WORDS, {"prompt": ""}, False, "Say what the picture shows now"),
        (WORDS, {"target": ""}, False, "Say what the picture should show"),
        (WORDS, {"task": "drag"}, False, "choose one of diffedit"),
        (DRAG, {"drags": ()}, False, "Click what is to move"),
    ],
)
def test_what_is_missing_is_said(wish, changes, masked, message):
    with pytest.raises(UserError, match=message):
        wish.model_copy(update=changes).check(masked=masked)


def test_what_is_whole_is_not_refused():
    INPAINT.check(masked=True)
    WORDS.check(masked=False)
    DRAG.check(masked=False)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"wish": {}, "mask": ""}', b'{"wish": 5, "mask": "", "more": 1}'],
)
def test_a_request_that_no_page_sends_is_refused(content):
    with pytest.raises(UserError, match="the request is no edit"):
        read_request(content)


def test_a_request_is_read_as_it_was_sent():
    content = json.dumps({"wish": DRAG.model_dump(), "mask": "abc"}).encode()
    assert read_request(content).wish == DRAG


def test_all_methods_exist():
    assert {task for tasks in TASKS.values() for task in tasks} <= set(names("task"))
