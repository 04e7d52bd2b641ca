"""Names of dtypes, long and short, wherever a config has one."""

import pytest

from sde_edit.config import experiment, parsed, table_config, table_grids
from sde_edit.errors import UserError
from sde_edit.overrides import expand
from sde_edit.report.selection import matches
from sde_edit.store.runs import run_id

FULL = ("float16", "float16", "bfloat16", "float32", "float32", "float64", "float64")
SHORT = ("fp16", "half", "bf16", "fp32", "float", "fp64", "double")


def spec(*overrides):
    return experiment(["model=gmm", "task=sample", "metrics=[]", *overrides]).spec


@pytest.mark.parametrize(("short", "full"), [*zip(SHORT, FULL, strict=True)])
def test_a_short_dtype_is_stored_in_full_and_selects_the_same_runs(short, full):
    chosen = spec(f"dtype={short}")
    assert chosen.dtype == full
    assert run_id(chosen) == run_id(spec(f"dtype={full}")) == run_id(spec(f"model.dtype={short}"))
    where = parsed([f"dtype={short}"])
    assert matches(chosen, {key: [value] for key, value in where.items()})


@pytest.mark.parametrize("dtype", ["float8", "FP16", "float128", "16"])
def test_another_dtype_is_refused_with_the_names_that_are_allowed(dtype):
    with pytest.raises(UserError, match="float16, bfloat16, float32, float64, or in short fp16"):
        spec(f"dtype={dtype}")


@pytest.mark.parametrize("key", ["dtype", "model.dtype"])
def test_where_auto_is_allowed_it_is_named(key):
    with pytest.raises(UserError, match=f"{key}='foo': allowed are auto, float16"):
        spec(f"{key}=foo", *(["dtype=float32"] if key == "model.dtype" else []))
    with pytest.raises(UserError, match="dtype='foo': allowed are float16"):
        parsed(["dtype=foo"])


def test_a_table_takes_short_dtypes_for_its_grid():
    config, rest = table_config("table3", ["dtype=bf16,double"])
    assert config["runs"]["dtype"] == ["bfloat16", "float64"]
    assert not rest
    grids = [one for grid in table_grids(config) for one in expand(grid)]
    assert any("dtype=bfloat16" in overrides for overrides in grids)
