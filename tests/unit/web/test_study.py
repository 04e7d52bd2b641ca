"""What the server of a study answers, without a browser."""

from __future__ import annotations

from contextlib import closing

import pytest
from starlette.testclient import TestClient

from sde_edit.errors import UserError
from sde_edit.study.plan import Study
from sde_edit.study.trials import trials_of
from sde_edit.web.study import open_study
from tests.unit.study.plans import plan_of


@pytest.fixture
def study(tmp_path):
    found = Study.named("made-up", tmp_path)
    digest = found.add_image(b"a picture")
    shown = [type(i)(i.id, "a cat", digest, (digest, digest)) for i in plan_of(4).shown]
    found.write(plan_of(4, items=tuple(shown[:4]), practice=tuple(shown[4:]), raters=2))
    return found


@pytest.fixture
def opened(study, tmp_path):
    where = [f"paths.results={tmp_path}"]
    found = open_study("made-up", where, raters=1, host="127.0.0.1", port=0, token="")
    with closing(found.listening):
        yield found


def client(opened, address):
    """What is asked relative to an address, by its own pages."""
    origin = "/".join(address.split("/")[:3])
    return TestClient(opened.app, base_url=address, headers={"origin": origin})


@pytest.fixture
def rater(opened):
    """The first rater."""
    return client(opened, f"{opened.links['rater-1']}/")


@pytest.fixture
def anybody(opened):
    """Somebody without a link."""
    return client(opened, opened.links["rater-1"].split("/r/")[0])


def test_consent_then_questions_then_thanks(rater, study):
    asked = len(trials_of(study.plan, 0))
    assert rater.get("state").json()["stage"] == "consent"
    state = rater.post("agree", json={}).json()
    for number in range(asked):
        assert (state["stage"], state["number"], state["practice"]) == (
            "question", number, number < 3,
        )  # fmt: skip
        assert state["words"] == "a cat"
        given = {"number": number, "choice": "left", "seconds": 1.5}
        assert rater.get("answers.jsonl").status_code == 404
        state = rater.post("answer", json=given).json()
    assert state["stage"] == "thanks"
    own = rater.get("answers.jsonl")
    assert own.content == study.answers_file("rater-1").read_bytes()
    assert "rater-1.jsonl" in own.headers["content-disposition"]


def test_a_page_that_is_behind_is_told_what_comes_next(rater):
    rater.post("agree", json={})
    given = {"number": 0, "choice": "left", "seconds": 1.0}
    assert rater.post("answer", json=given).json()["number"] == 1
    assert rater.post("answer", json=given).status_code == 200  # sent again
    late = rater.post("answer", json=given | {"choice": "right"})
    assert (late.status_code, late.json()["number"]) == (409, 1)
    assert rater.post("undo", json={"number": 0}).json()["number"] == 0


@pytest.mark.parametrize(
    "body",
    ["", "[]", '{"number": 0}', '{"number": "0", "choice": "left", "seconds": 1}',
     '{"number": 0, "choice": "left", "seconds": -1}',
     '{"number": 0, "choice": "left", "seconds": NaN}'],
)  # fmt: skip
def test_what_no_page_sends_is_refused(rater, study, body):
    rater.post("agree", json={})
    before = study.answers_file("rater-1").read_bytes()
    assert rater.post("answer", content=body).status_code == 400
    assert study.answers_file("rater-1").read_bytes() == before


def test_images_are_found_by_their_hash_alone(anybody, study):
    (digest,) = study.images
    assert anybody.get(f"/image/{digest}.png").content == b"a picture"
    assert anybody.get(f"/image/{digest[:-1]}.png").status_code == 404


def test_only_a_raters_link_leads_to_questions(anybody):
    assert "Open the link that you were sent" in anybody.get("/").text
    for path in ("/r/unknown", "/r/unknown/state"):
        answer = anybody.get(path)
        assert answer.status_code == 404
        assert "Ask for it again" in answer.text


def test_links_are_made_for_as_many_as_asked(study, tmp_path):
    where = [f"paths.results={tmp_path}"]
    more = open_study("made-up", where, raters=5, host="127.0.0.1", port=0, token="")
    with closing(more.listening):
        assert [*more.links] == [f"rater-{i}" for i in range(1, 6)]


def test_a_study_with_another_image_is_not_opened(study, tmp_path):
    (file,) = study.images.values()
    file.write_bytes(b"another")
    with pytest.raises(UserError, match="is not the image of the plan"):
        open_study(
            "made-up", [f"paths.results={tmp_path}"], raters=1, host="127.0.0.1", port=0, token=""
        )
