"""Loading ahead."""

import threading

import numpy as np

from sde_edit.api.example import Example
from sde_edit.evaluation.outputs import prefetch


def item(size: int, example_id: str = "0"):
    image = np.zeros((size, size, 3), np.uint8)
    return Example(example_id, image), image


def test_prefetch_keeps_order_and_a_bounded_lead():
    started: list[str] = []
    lock = threading.Lock()

    def load(example_id: str):
        with lock:
            started.append(example_id)
        return item(4, example_id)

    ids = [str(i) for i in range(50)]
    items = prefetch(load, ids, workers=2)
    assert next(items)[0].id == "0"
    assert len(started) <= 6
    assert [e.id for e, _ in items] == ids[1:]
