"""The memory that scoring takes: what is counted, and that a leak shows."""

import numpy as np
import pytest

from sde_edit.bench.result import markdown
from sde_edit.bench.scoring import images_to_score, scoring_memory
from sde_edit.bench.synthetic import on_synthetic_data
from sde_edit.metrics.psnr import Psnr


def test_the_record_says_how_many_images_were_scored(record):
    assert record["scoring_images"] == 20
    assert "over 20 images" in markdown(record)


def test_fewer_of_large_images_are_scored(monkeypatch):
    monkeypatch.setattr("sde_edit.bench.scoring.IMAGES", 1000)
    assert [images_to_score(side) for side in (8, 64, 128, 512)] == [1000, 1000, 250, 100]


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
