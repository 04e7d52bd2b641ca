"""Raters in a browser: two at once, a reload, a killed server, keys alone, and attacks."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from sde_edit.cli import main
from sde_edit.study.plan import Study
from sde_edit.study.trials import trials_of
from sde_edit.study.votes import raters_of
from tests.builders import runs_of_drags
from tests.e2e.pages.local_server import LocalServer

PLACES = (".original", "#left", "#right")
QUESTIONS = 10  # of each rater: 3 for practice, 5 items, a repeat and a check


@dataclass
class Served(LocalServer):
    """A study, and the process that serves it."""

    results: Path

    @property
    def study(self) -> Study:
        return Study.named("drags", self.results)

    def start(self) -> list[str]:
        """Serve it, at the port that it had; the links of the raters."""
        self.run("study", "serve", "drags", f"paths.results={self.results}")
        links = [self.line().split(": ")[1].strip() for _ in range(2)]
        self.port = int(re.findall(r":(\d+)/", links[0])[0])
        return links

    def choices(self, rater: int) -> list[tuple[int, str | None]]:
        """Number of the question and choice, of every line that the rater's file has."""
        file = self.study.answers_file(f"rater-{rater}")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return [(line["trial"], line["choice"]) for line in lines if "trial" in line]


@pytest.fixture
def served(tmp_path) -> Iterator[Served]:
    runs = runs_of_drags(tmp_path)
    settings = [f"runs={','.join(run.id for run in runs)}", "n=5", "raters=2"]
    outcome = CliRunner().invoke(
        main, ["study", "new", "drags", *settings, f"paths.results={tmp_path}"]
    )
    assert outcome.exit_code == 0, outcome.output
    served = Served(tmp_path)
    yield served
    if served.process and served.process.poll() is None:
        served.stop()


def question(page: Page, number: int) -> None:
    """Wait until the page asks this question, from 1, and its images are there."""
    expect(page.locator("#count")).to_contain_text(f"Question {number} of {QUESTIONS}")
    expect(page.locator(".trial")).to_have_attribute("aria-busy", "false")


def answer_all(page: Page, first: int = 1, key: str = "ArrowLeft") -> None:
    for number in range(first, QUESTIONS + 1):
        question(page, number)
        page.keyboard.press(key)


def agree(page: Page) -> None:
    page.get_by_role("button", name="I agree, begin").click()


def test_keys_alone_lead_from_consent_to_thanks(served, open_page, accessibility):
    page = open_page(served.start()[0])
    expect(page.get_by_role("heading", name="Select the better image.")).to_be_focused()
    assert accessibility(page) == []
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    question(page, 1)
    assert accessibility(page) == []
    answer_all(page)
    expect(page.get_by_role("heading", name="Thank you")).to_be_focused()
    assert accessibility(page) == []
    assert served.choices(1) == [(i, "left") for i in range(QUESTIONS)]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download your answers").press("Enter")
    own = served.study.answers_file("rater-1")
    assert download.value.path().read_bytes() == own.read_bytes()


def test_what_is_chosen_is_what_was_shown_on_that_side(served, open_page):
    page = open_page(served.start()[0])
    agree(page)
    answer_all(page, key="ArrowRight")
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    trials = trials_of(served.study.plan, 0)
    (rater,) = raters_of(served.study)
    assert [one.right for one in rater.answers] == [(t.right.arm, t.right.item) for t in trials]
    assert all(one.choice == "right" and one.seconds > 0 for one in rater.answers)


def test_images_are_those_of_the_plan_and_name_no_arm(served, open_page):
    page = open_page(served.start()[0])
    agree(page)
    question(page, 1)
    plan, trial = served.study.plan, trials_of(served.study.plan, 0)[0]
    shown = [
        page.locator(f"{s} img").get_attribute("src") for s in (".original", "#left", "#right")
    ]
    item = plan.shown[trial.item]
    digests = [item.original, *(plan.shown[e.item].edits[e.arm] for e in (trial.left, trial.right))]
    assert shown == [f"/image/{digest}.png" for digest in digests]
    everything = page.content() + page.request.get(f"{page.url}/state").text()
    for arm in plan.arms:
        assert arm.run not in everything
        assert not re.search(rf"\b{arm.label}\b", everything)


def test_two_raters_do_not_disturb_each_other(served, open_page):
    pages = [open_page(link) for link in served.start()]
    for page in pages:
        agree(page)
    for number in range(1, QUESTIONS + 1):
        for page, key in zip(pages, ("ArrowLeft", "ArrowRight"), strict=True):
            question(page, number)
            page.keyboard.press(key)
    for page in pages:
        expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    assert served.choices(1) == [(i, "left") for i in range(QUESTIONS)]
    assert served.choices(2) == [(i, "right") for i in range(QUESTIONS)]


def test_reload_goes_on_where_it_was_and_one_answer_can_be_taken_back(served, open_page):
    page = open_page(served.start()[0])
    agree(page)
    question(page, 1)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    question(page, 2)
    page.keyboard.press("ArrowLeft")
    question(page, 3)
    page.reload()
    question(page, 3)
    page.keyboard.press("Backspace")
    question(page, 2)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.reload()
    question(page, 2)
    page.locator("#right").click()
    question(page, 3)
    assert served.choices(1) == [(0, "left"), (1, "left"), (1, None), (1, "right")]


def test_a_killed_server_loses_nothing(served, open_page):
    page = open_page(served.start()[0])
    agree(page)
    for number in (1, 2, 3):
        question(page, number)
        page.keyboard.press("ArrowLeft")
    question(page, 4)
    served.stop()
    file = served.study.answers_file("rater-1")
    file.write_bytes(file.read_bytes() + b'{"trial":3,"cho')  # as if it was killed while writing
    served.start()
    page.keyboard.press("ArrowRight")
    question(page, 5)
    page.reload()
    answer_all(page, first=5)
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    (rater,) = raters_of(served.study)
    left = [one.choice for one in rater.answers]
    assert left == ["left", "left", "left", "right", *["left"] * (QUESTIONS - 4)]


def test_an_answer_that_is_not_saved_is_said_so_and_can_be_given_again(served, open_page):
    link = served.start()[0]
    page = open_page(link).context.new_page()  # its console reports the lost connection
    page.goto(link)
    agree(page)
    question(page, 1)
    served.stop()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("alert")).to_contain_text("Not saved: the server does not answer.")
    served.start()
    page.keyboard.press("ArrowRight")
    question(page, 2)
    expect(page.get_by_role("alert")).to_be_hidden()
    assert served.choices(1) == [(0, "right")]


def test_a_second_tab_moves_on_with_the_first(served, open_page):
    link = served.start()[0]
    page = open_page(link)
    agree(page)
    question(page, 1)
    other = page.context.new_page()
    other.goto(link)
    question(other, 1)
    page.keyboard.press("ArrowLeft")
    question(page, 2)
    other.keyboard.press("ArrowRight")
    question(other, 2)
    assert served.choices(1) == [(0, "left")]


def test_ctrl_c_ends_the_server_quietly(served):
    served.start()
    assert served.request("GET", "/") == 200  # it has begun to listen to signals
    assert served.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_its_window_and_can_be_read(served, open_page, accessibility, width, dark):
    page = open_page(served.start()[0], width=width, dark=dark)
    expect(page.get_by_role("heading", name="What is kept")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert accessibility(page) == []
    agree(page)
    question(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert accessibility(page) == []


def test_attacks_are_refused_and_change_nothing(served):
    path = "/" + served.start()[0].split("/", 3)[3]
    own = f"http://127.0.0.1:{served.port}"
    assert served.request("GET", path) == 200
    assert served.request("GET", path, host="evil.example") == 403
    assert served.request("POST", f"{path}/agree") == 403
    assert served.request("POST", f"{path}/agree", origin="http://evil.example") == 403
    assert served.request("POST", f"{path}/answer", b"x" * 2_000_000, origin=own) == 413
    for body in (b"", b"[]", b'{"number":0,"choice":"both","seconds":1}', b"\xff" * 9):
        assert served.request("POST", f"{path}/answer", body, origin=own) == 400
    for tried in (
        "/image/../plan.json",
        "/image/%2e%2e%2fplan.json.png",
        "/image/plan.json",
        "/r/../raters.json",
        "/raters.json",
        "/r/",
        "/r/x",
        "/static/..%2f..%2fcli.py",
    ):
        assert served.request("GET", tried) == 404
    assert not served.study.answers_file("rater-1").exists()
