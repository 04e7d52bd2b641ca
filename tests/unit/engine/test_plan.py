"""Runs that share an encoding."""

from sde_edit.config import experiment
from sde_edit.engine.plan import group_by_shared_encoding


def test_runs_that_differ_only_in_t_0_are_grouped_however_they_were_typed(small):
    def group(*each):
        common = [*small, "task=diffedit", "data=shapes-edits"]
        composed = [experiment([*common, *overrides]) for overrides in each]
        return [len(members) for members in group_by_shared_encoding(composed)]

    default = experiment([*small, "task=diffedit", "data=shapes-edits"]).task.t_0
    assert group([], ["task.t_0=0.4"]) == [2]
    assert group(["task.t_0=0.4", "seed=0"], ["seed=0", "task.t_0=0.6"]) == [2]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "seed=1"]) == [1, 1]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "hardware.batch_size=1"]) == [1, 1]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "metrics=[]"]) == [1, 1]
    assert group([], [f"task.t_0={default}"]) == [1, 1]  # one run, named twice
