"""Batches that do not fit into memory."""

import pytest
import torch
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.config import experiment
from sde_edit.engine.memory import AdaptiveBatcher
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore

SIZE = (64, 64)


def invoke(*arguments, code=0):
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout if code == 0 else outcome.output


def out_of_memory_above(most):
    """An edit that needs more memory than there is for more than `most` images."""
    sizes = []

    def edit(examples):
        sizes.append(len(examples))
        if len(examples) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.tensor([[len(example)] for example in examples])

    return edit, sizes


def test_out_of_memory_halves_the_batch_and_is_remembered(small, caplog):
    chosen = experiment([*small, "hardware.batch_size=10"])
    batch = ["x" * n for n in range(10)]
    edit, sizes = out_of_memory_above(3)
    assert torch.cat(
        AdaptiveBatcher(chosen, "cpu", "drag", SIZE).map(batch, edit)
    ).flatten().tolist() == list(range(10))
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert "out of memory with 10 images at once: going on with 5" in caplog.text
    edit, sizes = out_of_memory_above(3)
    AdaptiveBatcher(experiment([*small, "hardware.batch_size=10"]), "cpu", "drag", SIZE).map(
        batch, edit
    )
    assert sizes == [2, 2, 2, 2, 2]
    edit, sizes = out_of_memory_above(3)
    AdaptiveBatcher(
        experiment([*small, "hardware.batch_size=10", "dtype=float64"]), "cpu", "drag", SIZE
    ).map(batch, edit)
    assert sizes[0] == 10  # another dtype needs other memory
    edit, sizes = out_of_memory_above(3)
    AdaptiveBatcher(chosen, "cpu", "lora", SIZE).map(batch, edit)
    assert sizes[0] == 10  # and so does other work
    with pytest.raises(UserError, match="does not hold one image"):
        AdaptiveBatcher(chosen, "cpu", "drag", SIZE).map(batch, out_of_memory_above(0)[0])


def test_each_size_of_image_has_a_memory_of_its_own(small):
    chosen = experiment([*small, "hardware.batch_size=10"])
    AdaptiveBatcher(chosen, "cpu", "drag", (64, 96)).map("abcd", out_of_memory_above(2)[0])
    assert AdaptiveBatcher(chosen, "cpu", "drag", (64, 96)).size == 2
    assert AdaptiveBatcher(chosen, "cpu", "drag", (96, 64)).size == 10
    assert AdaptiveBatcher(chosen, "cpu", "drag", SIZE).size == 10


def test_a_smaller_batch_size_takes_precedence_over_a_remembered_one(small):
    def size(batch_size):
        chosen = experiment([*small, f"hardware.batch_size={batch_size}"])
        return AdaptiveBatcher(chosen, "cpu", "drag", SIZE)

    size(4).map("abcd", out_of_memory_above(2)[0])
    assert [size(n).size for n in (1, 2, 8)] == [1, 2, 2]


@pytest.mark.parametrize("task", ["inpaint", "reconstruct"])
def test_out_of_memory_changes_no_result(small, tmp_path, monkeypatch, task):
    """On the real code path: the network refuses more than two rows at once, and a task that asks
    for many times in one call asks for fewer."""
    from sde_edit.networks.latent_diffusion import LoadedStableDiffusion as Loaded

    invoke("run", *small, f"task={task}", "dtype=float64")
    whole = RunStore(tmp_path).runs()[0].seal
    network = Loaded._network

    def refusing(self, x, *rest):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(self, x, *rest)

    monkeypatch.setattr(Loaded, "_network", refusing)
    where = f"paths.results={tmp_path / 'small'}"
    invoke("run", *small, f"task={task}", "dtype=float64", where)
    assert RunStore(tmp_path / "small").runs()[0].seal == whole


def test_a_cpu_without_memory_is_told_as_a_sentence(small):
    chosen = experiment([*small, "hardware.batch_size=1"])
    batcher = AdaptiveBatcher(chosen, "cpu", "drag", SIZE)
    with pytest.raises(UserError, match="does not hold one image"):
        batcher.map(["x"], lambda examples: torch.empty(10**15))


def test_another_error_of_torch_is_none_of_memory(small):
    batcher = AdaptiveBatcher(experiment(small), "cpu", "drag", SIZE)
    with pytest.raises(RuntimeError, match="size of tensor"):
        batcher.map(["x"], lambda examples: torch.ones(2) + torch.ones(3))
