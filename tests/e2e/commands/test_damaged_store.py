"""Every verb on a store with a damaged file: an answer or a UserError, and `run` repairs it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from sde_edit.cli import main
from sde_edit.store.runs import RunStore
from sde_edit.store.sweeps import SweepRecord

SAMPLERS = ("sde", "sde_textbook")


def call(*arguments: str, code: int | None = 0) -> str:
    """The output of a verb. Fails for any exception but a UserError, and for another exit code."""
    result: Result = CliRunner().invoke(main, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert code is None or result.exit_code == code, result.output
    return result.output


class Store:
    """A results folder with two finished runs of a table, a table, a sweep and a benchmark."""

    def __init__(self, root: Path, images: Path) -> None:
        self.root = root
        self.grid = [
            *("task=reconstruct", "task.guidance=1.0", "model=gmm", "steps=50", "metrics=[psnr]"),
            *("data=folder", f"data.images={images}", "data.resolution=8", "dtype=float32"),
            *(f"paths.results={root}", f"paths.cache={root.parent / 'cache'}"),
            *("hardware.batch_size=2", "task.prompt="),
        ]

    @property
    def verbs(self) -> dict[str, list[str]]:
        where, both = f"paths.results={self.root}", f"sampler={','.join(SAMPLERS)}"
        ids = [run.rpartition("__")[2] for run in self.names]
        return {
            "status": ["status", where],
            "table": ["table", "exactness", where],
            "summary": ["summary", *self.grid, both],
            "compare": ["compare", *ids, where],
            "sweep": ["sweep", *self.grid, both, "--dry-run"],
            "evaluate": ["evaluate", *self.grid, both],
            "runs": ["runs", where, "--sort", "psnr"],
            "export": ["export", where],
        }

    def run(self, code: int | None = 0) -> str:
        return call("run", *self.grid, f"sampler={','.join(SAMPLERS)}", code=code)

    @property
    def names(self) -> list[str]:
        return sorted(folder.name for folder in (self.root / "runs").glob("*__*"))

    def outcome(self) -> dict[str, tuple[object, ...]]:
        """By run: the seal, the scores and the images."""
        return {
            run.id: (
                run.seal,
                {name: score.value for name, score in run.scores().items()},
                {i: np.array(Image.open(run.output(r))).tobytes() for i, r in run.rows().items()},
            )
            for run in RunStore(self.root).runs()
        }

    def files(self) -> list[Path]:
        """What a verb may read of results and cache, relative to their folder; figures are only
        written."""
        folder = self.root.parent
        found = [file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file()]
        return [file for file in found if "figures" not in file.parts]

    def copy(self, root: Path, images: Path) -> Store:
        shutil.rmtree(root.parent, ignore_errors=True)
        shutil.copytree(self.root.parent, root.parent)
        return Store(root, images)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Store:
    root = tmp_path_factory.mktemp("whole") / "work" / "results"
    store = Store(root, images)
    store.run()
    SweepRecord(["launcher=slurm"], handle="7").write(root / "sweeps" / "x")
    (root / "bench").mkdir()
    (root / "bench" / "b.json").write_text(
        '{"date": "2026", "model_digest": "", "dtype": "float32", "device_name": "cpu", '
        '"seconds_per_evaluation": 0.1}'
    )
    call(*store.verbs["table"])
    return store


# ------------------------------------------------------------------ damages
Damage = Callable[[Path, Path, random.Random], None]  # to a file; another of the same store


def _empty(file: Path, other: Path, rng: random.Random) -> None:
    file.write_bytes(b"")


def _truncate(file: Path, other: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))])


def _garble(file: Path, other: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    start = rng.randrange(len(content))
    part = bytes(byte ^ 0xA5 for byte in content[start : start + 40])
    file.write_bytes(content[:start] + part + content[start + 40 :])


def _flip(file: Path, other: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def _other_json(file: Path, other: Path, rng: random.Random) -> None:
    file.write_bytes(b'[{"newer": 1e999}]\n')


def _swap(file: Path, other: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _folder(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


def _link(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def _remove(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()


DAMAGES: list[Damage] = [
    *(_empty, _truncate, _garble, _flip, _other_json),
    *(_swap, _folder, _link, _remove),
]


def check(whole: Store, images: Path, place: Path, damage: Damage, number: int,
          rng: random.Random) -> None:  # fmt: skip
    store = whole.copy(place / "work" / "results", images)
    files = store.files()
    file = store.root.parent / files[number % len(files)]
    damage(file, store.root.parent / rng.choice(files), rng)
    for arguments in store.verbs.values():
        call(*arguments, code=None)
    call(*store.verbs["status"])
    output = store.run(code=None)
    if file.is_dir() or "Remove it" in output:
        return  # it asks for a hand
    assert store.outcome() == whole.outcome(), output


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_file_brings_no_verb_down(whole, images, tmp_path, number):
    rng = random.Random(number)
    check(whole, images, tmp_path, rng.choice(DAMAGES), rng.randrange(1000), rng)


@pytest.mark.exhaustive
def test_every_damage_of_every_file(whole, images, tmp_path, pytestconfig):
    """Where a file is damaged follows from --fuzz-seed."""
    seed, failed = pytestconfig.getoption("--fuzz-seed"), []
    files = whole.files()
    for number, damage in product(range(len(files)), DAMAGES):
        try:
            rng = random.Random(f"{seed} {number} {damage.__name__}")
            check(whole, images, tmp_path, damage, number, rng)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
            failed.append(f"{damage.__name__} {files[number]}: {type(error).__name__}: {error}")
    assert not failed, "\n".join([f"{len(failed)} of {len(files) * len(DAMAGES)}", *failed])
