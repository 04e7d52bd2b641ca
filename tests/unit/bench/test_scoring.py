"""The memory that scoring takes: what is counted, and that a leak shows."""

import numpy as np
import pytest

from sde_edit.bench.engine import on_synthetic_data
from sde_edit.bench.result import markdown
from sde_edit.bench.scoring import scoring_memory
from sde_edit.metrics.psnr import Psnr


def test_the_record_says_how_many_images_were_scored(record, measured):
    assert record["scoring_images"] == 20
    assert "scoring 20 images" in markdown(measured)


@pytest.mark.parametrize("leaks", [False, True])
def test_a_leak_shows(make, tmp_path, monkeypatch, leaks):
    kept, measure = [], Psnr.measure

    def leaking(self, images_BHWC, examples):
        kept.append(np.ones(2**21))  # 16 MiB
        return measure(self, images_BHWC, examples)

    if leaks:
        monkeypatch.setattr(Psnr, "measure", leaking)
    scoring = scoring_memory(on_synthetic_data(make(), 40, tmp_path))
    assert scoring.images == 40
    after_a_quarter = 15 * 2**24  # of batches of two
    assert (scoring.growth > 0.8 * after_a_quarter) == leaks
