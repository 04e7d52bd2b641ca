"""A plan is written once; what was changed afterwards is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from sde_edit.errors import UserError
from sde_edit.study.plan import Study
from tests.unit.study.plans import plan_of


@pytest.fixture
def study(tmp_path):
    found = Study.named("made-up", tmp_path)
    found.write(plan_of())
    return found


def test_plan_reads_back_as_it_was_written(study):
    assert Study(study.folder).plan == plan_of()
    stored = json.loads((study.folder / "plan.json").read_text())
    assert stored["sha256"] == study.plan.digest


@pytest.mark.parametrize("changed", ["passed", "items", "question", "half_width"])
def test_a_changed_plan_is_refused(study, changed):
    file = study.folder / "plan.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(stored | {changed: stored[changed] * 2}))
    with pytest.raises(UserError, match=r"plan\.json was changed after it was sealed"):
        _ = Study(study.folder).plan


def test_a_study_is_not_planned_twice_and_must_be_there(study, tmp_path):
    with pytest.raises(UserError, match="exists, and a plan is never changed"):
        study.check_new()
    with pytest.raises(UserError, match="no study 'other'"):
        _ = Study.named("other", tmp_path).plan
    with pytest.raises(UserError, match="use a name without folders"):
        Study.named("../made-up", tmp_path)


def test_raters_have_secrets_of_their_own_that_last(study):
    before = study.raters
    assert list(before) == ["rater-1", "rater-2", "rater-3", "rater-4"]
    assert len({*before.values()}) == 4
    assert all(len(secret) >= 20 for secret in before.values())
    study.add_raters(3)
    study.add_raters(5)
    assert dict(list(study.raters.items())[:4]) == before
    assert list(study.raters)[4] == "rater-5"


def test_an_image_that_is_not_that_of_the_plan_is_refused(tmp_path):
    study = Study.named("made-up", tmp_path)
    digest = study.add_image(b"an image")
    assert digest == hashlib.sha256(b"an image").hexdigest()
    items = tuple(replace(i, original=digest, edits=(digest, digest)) for i in plan_of(2).shown)
    study.write(plan_of(2, items=items[:2], practice=items[2:]))
    study.check_images()
    (study.folder / "images" / f"{digest}.png").write_bytes(b"another")
    with pytest.raises(UserError, match="is not the image of the plan"):
        study.check_images()
