"""Outputs of a run as they are read back, and what can be wrong with them."""

import io

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.metric import NamedMetric
from sde_edit.errors import UserError
from tests.unit.evaluation.runs import Brightness, Pictures, choice, evaluate, make_run


def test_truncated_image_is_missing(tmp_path):
    run = make_run(tmp_path, Pictures())
    path = run.path / "outputs" / "004.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"1 of its 12 images .*'004'.*Run it again"):
        evaluate(run, Pictures(), [NamedMetric(choice("a"), Brightness())])


def test_unreadable_image_is_named(tmp_path):
    run = make_run(tmp_path, Pictures())
    path = run.path / "outputs" / "004.png"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(UserError, match=r"004.png cannot be read.*Delete it"):
        evaluate(run, Pictures(), [NamedMetric(choice("a"), Brightness())])


def test_an_output_that_was_exchanged_is_named(tmp_path):
    run = make_run(tmp_path, Pictures())
    path = run.path / "outputs" / "004.png"
    other = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 13, np.uint8)).save(other, "PNG")
    assert len(other.getvalue()) == path.stat().st_size
    path.write_bytes(other.getvalue())
    with pytest.raises(UserError, match=r"004.png is not the image that was made.*Delete it"):
        evaluate(run, Pictures(), [NamedMetric(choice("a"), Brightness())])


def test_image_of_another_size_is_named(tmp_path):
    run = make_run(tmp_path, Pictures())
    with pytest.raises(UserError, match=r"000.png is 8x8, example '000' is 12x12"):
        evaluate(run, Pictures(sides=(12,)), [NamedMetric(choice("a"), Brightness())])
