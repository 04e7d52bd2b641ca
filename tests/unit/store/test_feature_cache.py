"""Rows of metrics on disk."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.metric import NamedMetric
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.evaluation.per_image import PerImageMetric
from sde_edit.store.feature_cache import FeatureCache
from sde_edit.store.runs import ImageRecord, Run, RunStore


@dataclass(frozen=True)
class Plain(PerImageMetric):
    """A metric of which only its convention matters."""

    says: str = "plain"
    higher_is_better = True
    tolerance = 0.0

    def convention(self) -> str:
        return self.says

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        raise NotImplementedError


def a_run(folder: Path, *, seed: int = 0, digest: str = "d") -> Run:
    part = ComponentSpec("x", "x", 1)
    data = ComponentSpec("x", "x", 1, digest=digest)
    return RunStore(folder).open(
        RunSpec(part, part, part, data, 10, "leading", "min", "float32", seed)
    )


def a_cache(folder: Path, run: Run, *, says: str = "plain", **params: object) -> FeatureCache:
    choice = ComponentSpec("plain", "plain", 1, params=params)
    return FeatureCache(folder / "cache", run, NamedMetric(choice, Plain(says)))


def images(n: int, *, pixels: str = "p") -> dict[str, ImageRecord]:
    names = [f"{i}" for i in range(n)]
    return {i: ImageRecord(i, f"{i}.png", 1, pixels + i, 0.0, 0.0, "cpu", "float32") for i in names}


def rows_of(
    made: dict[str, ImageRecord], *, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    values = torch.randn(len(made), 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return dict(zip(made, values.double(), strict=True))


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[i], b[i]) and b[i].dtype == torch.float64 for i in a)


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "features").glob("*/*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_come_back_to_the_bit_in_the_smallest_type(tmp_path, dtype):
    cache, made = a_cache(tmp_path, a_run(tmp_path)), images(5)
    rows = rows_of(made, dtype=dtype)
    cache.write(rows, made)
    assert_same(rows, cache.read(made))
    assert load_file(parts(tmp_path)[0])["rows"].dtype == dtype


def test_only_images_asked_for_and_unchanged_are_found(tmp_path):
    cache, made = a_cache(tmp_path, a_run(tmp_path)), images(5)
    cache.write(rows_of(made), made)
    changed = images(6) | {"2": images(3, pixels="q")["2"]}
    assert cache.read(changed).keys() == {"0", "1", "3", "4"}
    assert cache.read(images(2)).keys() == {"0", "1"}


def test_the_later_part_counts(tmp_path):
    cache, made = a_cache(tmp_path, a_run(tmp_path)), images(2)
    for value in (1.0, 3.0, 2.0):
        cache.write({"0": torch.full((1,), value).double()}, made)
    assert cache.read(made)["0"].item() == 2


def test_settings_convention_data_and_run_are_kept_apart(tmp_path):
    run, made = a_run(tmp_path), images(2)
    a_cache(tmp_path, run, size=1).write(rows_of(made), made)
    others = [
        a_cache(tmp_path, run, size=2),
        a_cache(tmp_path, run, size=1, says="other weights"),
        a_cache(tmp_path, a_run(tmp_path, digest="e"), size=1),
        a_cache(tmp_path, a_run(tmp_path, seed=1), size=1),
    ]
    assert [other.read(made) for other in others] == [{}] * 4
    assert len(a_cache(tmp_path, run, size=1).read(made)) == 2


def test_clear_forgets_one_run(tmp_path):
    made = images(2)
    caches = [a_cache(tmp_path, a_run(tmp_path, seed=seed)) for seed in (0, 1)]
    for cache in caches:
        cache.write(rows_of(made), made)
    caches[0].clear()
    assert caches[0].read(made) == {}
    assert_same(caches[1].read(made), rows_of(made))


# ------------------------------------------------------------------ damage


def _truncate(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-10])


def _garble(part: Path) -> None:
    part.write_bytes(os.urandom(300))


def _empty(part: Path) -> None:
    part.write_bytes(b"")


def _flip(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(bytes(content))


def _alter(part: Path) -> None:
    tensors = load_file(part)
    save_file(tensors | {"rows": tensors["rows"] + 1}, part)


def _shorten(part: Path) -> None:
    save_file({"rows": torch.zeros(1)}, part)


@pytest.mark.parametrize("damage", [_truncate, _garble, _empty, _flip, _alter, _shorten])
def test_a_damaged_part_is_named_and_left_out(tmp_path, caplog, damage):
    cache, made = a_cache(tmp_path, a_run(tmp_path)), images(4)
    rows = rows_of(made)
    cache.write({i: rows[i] for i in ("0", "1")}, made)
    cache.write({i: rows[i] for i in ("2", "3")}, made)
    bad = parts(tmp_path)[0]
    damage(bad)
    with caplog.at_level(logging.WARNING, "sde_edit"):
        assert_same(cache.read(made), {i: rows[i] for i in ("2", "3")})
    assert f"{bad} is damaged" in caplog.text
    assert not bad.exists()
    cache.write({i: rows[i] for i in ("0", "1")}, made)
    assert_same(dict(sorted(cache.read(made).items())), rows)


def test_a_part_that_goes_while_it_is_read_is_no_damage(tmp_path, caplog, monkeypatch):
    cache, made = a_cache(tmp_path, a_run(tmp_path)), images(2)
    cache.write(rows_of(made), made)
    gone = [tmp_path / "gone.safetensors"]
    monkeypatch.setattr(cache, "_parts", lambda: [*gone, *parts(tmp_path)])
    assert_same(cache.read(made), rows_of(made))
    cache.clear()
    assert not caplog.text
