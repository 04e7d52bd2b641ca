"""Images by a compiled pipeline."""

import numpy as np
import pytest

import sde_edit as se

INPAINT = ("task=inpaint", "task.guidance=7.5")
DRAG = ("task=drag", "data=shapes-drags", "task.m=1", "task.lora_steps=3", "task.lora_rate=0.01")


@pytest.mark.slow  # a minute of compiling
@pytest.mark.parametrize("task", [INPAINT, DRAG])
def test_compiled_images_are_the_eager_ones(task, tmp_path):
    """With a real compiler, up to rounding, which a few steps hardly amplify."""
    shared = [*task, "sampler=sde", "steps=5", "data.limit=4", "metrics=[]"]
    both = []
    for compiled in (False, True):
        (run,) = se.run(
            *shared,
            f"hardware.compile={str(compiled).lower()}",
            f"paths.results={tmp_path / str(compiled)}",
        )
        both.append(np.stack(list(run.images)).astype(int))
    difference = np.abs(both[0] - both[1])
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.01
