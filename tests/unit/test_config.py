"""Texts as overrides, read back by Hydra's parser."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sde_edit.api.override import override
from sde_edit.config import _without_twins, compose_config, parsed, sweep_overrides
from sde_edit.errors import UserError

# Hydra's grammar gives these a meaning.
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\\'\"${}[](), =:\n\tab")
# Not the smallest floats: torch may have switched them off in this process.
FLOATS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
NUMBERS = st.integers() | FLOATS
VALUES = TEXTS | NUMBERS | st.booleans() | st.none()


@given(TEXTS)
def test_any_text_survives_as_an_override(text):
    assert parsed([override("data.caption", text)]) == {"data.caption": text}


@given(VALUES)
def test_any_plain_value_survives_as_an_override(value):
    (read,) = parsed([override("task.x", value)]).values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["\\", "\\\n", '\\"', '\\\\"\n'])
def test_backslashes_at_the_end_survive(text):
    assert parsed([override("data.caption", text)]) == {"data.caption": text}


def test_a_table_is_its_grid_and_a_grid_is_itself():
    combinations, tables = sweep_overrides(["table=table2,table5", "dtype=bfloat16"])
    assert set(tables) == {"table2", "table5"}
    assert len(combinations) == 48  # two pairs of samplers each, at two guidances
    assert all("dtype=bfloat16" in overrides for overrides in combinations)
    combinations, tables = sweep_overrides(["steps=25,50", "sampler=ode", "launcher.workers=2"])
    assert combinations == [("steps=25", "sampler=ode"), ("steps=50", "sampler=ode")]
    assert not tables
    with pytest.raises(UserError, match="table2"):
        sweep_overrides(["table=tabel2"])


def test_the_papers_setting_of_a_table_comes_before_other_overrides():
    combinations, _ = sweep_overrides(["table=table2", "setting=paper", "data.limit=7"])
    assert len(combinations) == 2 * 2 * 3  # the paper's guidance is the model's: no further arms
    for one in combinations:
        config = compose_config(one)
        assert (config["model"]["name"], config["data"]["name"]) == ("sd15", "places")
        assert config["data"]["limit"] == 7


def test_the_papers_setting_is_only_for_tables_that_have_one():
    for words, message in {
        ("setting=paper", "steps=2"): "name them, as in table=table2",
        ("setting=papers", "table=table2"): "setting=papers: the only setting is paper",
        ("setting=paper", "table=table7"): r"conf/table/table7\.yaml has no paper_runs",
    }.items():
        with pytest.raises(UserError, match=message):
            sweep_overrides(words)


def test_an_override_of_a_table_goes_to_the_arms_that_name_its_key():
    combinations, _ = sweep_overrides(["table=figure3", "task.r=5", "data=dragbench", "seed=1"])
    by_task = {("task=drag_diffusion" in arm): arm for arm in combinations}
    assert {len(combinations), len(by_task)} == {7, 2}
    assert "task.r=5" in by_task[False]
    assert not any("task.r" in override for override in by_task[True])
    assert all({"data=dragbench", "seed=1"} <= set(arm) for arm in combinations)
    for key in ("steps=10", "sampler=sde"):
        with pytest.raises(UserError, match="tells the arms of figure3 apart"):
            sweep_overrides(["table=figure3", key])


def test_an_arm_that_stands_for_twins_is_compared_with_the_rivals_of_all():
    plain = {"set": {"sampler": "ode"}}
    config = {
        "baseline": "A",
        "arms": [
            plain | {"label": "A"},
            {"label": "B", "set": {"sampler": "edict"}, "against": "C"},
            {"label": "B2", "set": {"sampler": "edict"}},
            {"label": "C", "set": {"sampler": "sde"}},
            {"label": "C2", "set": {"sampler": "sde"}, "against": ["A2", "D"]},
            {"label": "D", "set": {"sampler": "bdia"}, "against": "A2"},
            plain | {"label": "A2", "against": "D"},
        ],
    }
    arms = {arm["label"]: arm for arm in _without_twins(config)["arms"]}
    assert {label: arm["stands_for"] for label, arm in arms.items()} == {
        "A": ["A2"],
        "B": ["B2"],
        "C": ["C2"],
        "D": [],
    }
    assert {label: arm.get("against") for label, arm in arms.items()} == {
        "A": None,  # the baseline
        "B": ["C", "A"],
        "C": ["A", "D"],
        "D": ["A"],
    }


def test_a_home_that_the_shell_leaves_is_not_quoted():
    """Quoted, it would be a folder with the name ~."""
    with pytest.raises(UserError, match=r'give "paths.results=\$HOME/x"'):
        parsed(["paths.results=~/x"])
