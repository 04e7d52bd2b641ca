"""The studio in a browser: marks exact to a pixel, the same bytes as the command, and mishaps."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from sde_edit.cli import main
from sde_edit.imaging.files import read_grey
from sde_edit.web.studio.app import MOST_BYTES
from tests.builders import picture
from tests.e2e.pages.local_server import LocalServer

WIDTH, HEIGHT = 150, 100  # of the photo
SLOW = 120_000  # milliseconds: the first plan waits for what must be imported
Mark = tuple[int, int]


@dataclass
class Studio(LocalServer):
    """A studio of a small random pipeline, and the process that serves it."""

    folder: Path
    model: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def photo(self) -> Path:
        return self.folder / "photo.png"

    @property
    def masks(self) -> list[Path]:
        return list(self.folder.glob("results/studio/photos/*/mask-*.png"))

    def start(self) -> None:
        """Serve it, at the port that it had."""
        small = [f"model.path={self.model}", "model.resolution=64", "dtype=float32", "steps=3"]
        where = [f"paths.results={self.folder / 'results'}", "hardware.threads=1"]
        self.run("studio", *small, *where)
        self.port = int(self.line().strip(" /\n").rpartition(":")[2])


@pytest.fixture(scope="module")
def studio(tiny_model, tmp_path_factory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    picture(WIDTH, HEIGHT).save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        served = Studio(folder, tiny_model)
        served.start()
        yield served
        assert served.stop(signal.SIGINT) == 0


@pytest.fixture
def opened(open_page, studio) -> Callable[..., Page]:
    """Opens the studio with the photo, ready for one kind of edit."""

    def opened(kind: str = "Repaint", **window: object) -> Page:
        page = open_page(studio.address, **window)
        page.get_by_text(kind, exact=True).click()
        page.set_input_files("#file", studio.photo)
        expect(page.locator("#empty")).to_be_hidden()
        return page

    return opened


# ------------------------------------------------------------------ what a user does
def place(page: Page, pixel: Mark, zoom: float = 1) -> tuple[float, float]:
    """Where a pixel of the photo is on the screen, zoomed about the middle from its full size."""
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    assert box
    scale = zoom * min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = (box["width"] - scale * WIDTH) / 2, (box["height"] - scale * HEIGHT) / 2
    return box["x"] + left + scale * (pixel[0] + 0.5), box["y"] + top + scale * (pixel[1] + 0.5)


def drag(page: Page, *pixels: Mark, zoom: float = 1) -> None:
    page.mouse.move(*place(page, pixels[0], zoom))
    page.mouse.down()
    for pixel in pixels[1:]:
        page.mouse.move(*place(page, pixel, zoom))
    page.mouse.up()


def click(page: Page, *pixels: Mark, zoom: float = 1) -> None:
    for pixel in pixels:
        page.mouse.click(*place(page, pixel, zoom))


def numbers(page: Page) -> list[int]:
    """The coordinates of all pairs, as the form shows them."""
    return [int(one.input_value()) for one in page.locator("#pairs input").all()]


def brush(page: Page, size: int, tool: str = "Brush") -> None:
    page.get_by_role("button", name=tool, exact=True).click()
    page.locator("#size").fill(str(size))


def run(page: Page) -> str:
    """Start the edit; the id of its card."""
    expect(page.locator("#run")).to_be_enabled(timeout=SLOW)
    cards = page.locator("#history > li")
    before = cards.count()
    page.locator("#run").click()
    expect(cards).to_have_count(before + 1, timeout=SLOW)
    return str(cards.first.get_attribute("data-id"))


def card(page: Page, edit: str) -> object:
    return page.locator(f"#history > li[data-id='{edit}']")


def finish(page: Page, edit: str, status: str = "done") -> None:
    expect(card(page, edit)).to_have_attribute("data-status", status, timeout=SLOW)


def painted(size: int, *points: Mark) -> np.ndarray:
    """The pixels at most size / 2 away from a path."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for a, b in pairwise(points if len(points) > 1 else points * 2):
        d = np.subtract(b, a)
        share = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(1, d @ d), 0, 1)
        ox, oy = x - a[0] - share * d[0], y - a[1] - share * d[1]
        mask |= ox**2 + oy**2 <= (size / 2) ** 2
    return mask


def test_who_has_no_photo_takes_a_scene(open_page, studio):
    page = open_page(studio.address)
    page.get_by_role("button", name="Take a scene").click()
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("#prompt")).to_have_value(re.compile("on .* background"))
    page.get_by_role("button", name="Invert mask").click()
    expect(page.locator("#cost")).to_contain_text("covers the whole photo", timeout=SLOW)
    page.get_by_role("button", name="Undo").click()
    click(page, (75, 50))
    finish(page, run(page))


# ------------------------------------------------------------------ marks
@pytest.mark.parametrize("ratio", [1, 2, 1.5])
def test_points_are_exact_to_a_pixel_at_two_zooms(browser, studio, ratio):
    context = browser.new_context(device_scale_factor=ratio)
    page = context.new_page()
    page.goto(studio.address)
    page.get_by_text("Drag", exact=True).click()
    page.set_input_files("#file", studio.photo)
    expect(page.locator("#empty")).to_be_hidden()
    wanted = [(0, 0), (149, 99), (17, 83), (101, 3)]
    click(page, *wanted)
    assert numbers(page) == [value for pixel in wanted for value in pixel]
    for _ in range(2):
        page.locator("#zoom-in").click()
    closer = [(60, 40), (61, 40), (88, 59), (88, 58)]
    click(page, *closer, zoom=1.5**2)
    assert numbers(page)[8:] == [value for pixel in closer for value in pixel]
    context.close()


def test_points_are_moved_typed_and_deleted(opened):
    page = opened("Drag")
    click(page, (20, 20), (60, 20), (20, 70), (60, 70))
    drag(page, (60, 20), (75, 33))
    assert numbers(page) == [20, 20, 75, 33, 20, 70, 60, 70]
    page.get_by_label("Pair 2, to x").fill("500")
    page.get_by_label("Pair 2, to x").press("Enter")
    assert numbers(page) == [20, 20, 75, 33, 20, 70, WIDTH - 1, 70]
    page.get_by_label("Delete pair 1").click()
    assert numbers(page) == [20, 70, WIDTH - 1, 70]
    page.get_by_role("button", name="Undo").click()
    assert numbers(page)[:4] == [20, 20, 75, 33]


def test_ten_fast_clicks_are_five_pairs(opened):
    page = opened("Drag")
    pixels = [(10 * i, 9 * i) for i in range(10)]
    click(page, *pixels)
    assert numbers(page) == [value for pixel in pixels for value in pixel]


def test_masks_are_exact(opened, studio):
    page = opened()
    page.locator("#prompt").fill("a lake")
    brush(page, 9)
    drag(page, (20, 30), (90, 55), (90, 80))
    brush(page, 5, "Erase")
    drag(page, (50, 20), (50, 90))
    brush(page, 1)
    click(page, (3, 96))
    page.get_by_role("button", name="Invert mask").click()
    page.locator("#zoom-in").click()
    brush(page, 20)
    click(page, (75, 50), zoom=1.5)
    page.get_by_role("button", name="Undo").click()
    before = set(studio.masks)
    finish(page, run(page))
    (file,) = set(studio.masks) - before
    kept = painted(9, (20, 30), (90, 55), (90, 80)) & ~painted(5, (50, 20), (50, 90))
    kept |= painted(1, (3, 96))
    np.testing.assert_array_equal(np.asarray(read_grey(file)) == 255, ~kept)


def test_squares_are_shown_before_the_run(opened):
    page = opened("Drag")
    page.locator("#prompt").fill("noise")
    click(page, (20, 20), (100, 20))
    expect(page.locator("#squares")).to_contain_text("r = 1", timeout=SLOW)
    expect(page.locator("#squares")).to_contain_text("drag steps: 7")
    expect(page.locator("#cost")).to_contain_text("evaluations of the network")


# ------------------------------------------------------------------ results
def inpaint(page: Page) -> None:
    brush(page, 20)
    drag(page, (40, 40), (80, 60))
    page.locator("#prompt").fill("a 'quoted' lake, and $HOME")


def by_words(page: Page) -> None:
    page.locator("#prompt").fill("a cat")
    page.locator("#target").fill("a dog")


def points(page: Page) -> None:
    page.locator("#prompt").fill("noise")
    click(page, (40, 40), (70, 40), (40, 80), (70, 85))
    page.locator("#settings-part summary").click()
    page.get_by_label("lora_steps").fill("2")
    page.get_by_label("lora_steps").press("Enter")
    page.locator("#settings-part summary").click()


@pytest.mark.parametrize(
    ("kind", "give"), [("Repaint", inpaint), ("Change by words", by_words), ("Drag", points)]
)
def test_the_printed_command_makes_the_same_bytes(
    opened, studio, tmp_path, monkeypatch, kind, give
):
    page = opened(kind)
    page.get_by_text("Both", exact=True).click()
    give(page)
    edit = run(page)
    finish(page, edit)
    expect(page.locator("#command")).to_contain_text("sampler=ode,sde")
    program, *words = shlex.split(page.locator("#command").inner_text())
    assert program == "sde-edit"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(studio.folder / "cache"))
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 0, outcome.output
    for name in ("ODE", "SDE"):
        with page.expect_download() as download:
            card(page, edit).get_by_text(f"{name} as PNG").click()
        made = download.value.path().read_bytes()
        assert made == (tmp_path / f"out-{name.lower()}.png").read_bytes()


def test_a_result_is_compared_and_its_record_downloaded(opened):
    page = opened("Change by words")
    by_words(page)
    edit = run(page)
    finish(page, edit)
    for mode in ("Side by side", "Blink", "Difference", "Slider"):
        page.get_by_role("button", name=mode).click()
        expect(page.get_by_role("button", name=mode)).to_have_attribute("aria-pressed", "true")
    split = page.locator("#split")
    shown = "() => document.getElementById('compare').toDataURL()"
    ends = []
    for value in ("0", "1000"):
        split.fill(value)
        ends.append(page.evaluate(shown))
    assert ends[0] != ends[1]
    with page.expect_download() as download:
        card(page, edit).get_by_text("JSON").click()
    record = json.loads(download.value.path().read_text())
    assert record["wish"]["target"] == "a dog"
    assert record["status"] == "done"
    assert [one["label"] for one in record["results"]] == ["SDE"]


def test_an_edit_is_used_again(opened, open_page, studio):
    page = opened()
    inpaint(page)
    edit = run(page)
    finish(page, edit)
    other = open_page(studio.address)
    masks = len(studio.masks)
    card(other, edit).get_by_text("Use again").click()
    expect(other.locator("#prompt")).to_have_value("a 'quoted' lake, and $HOME")
    finish(other, run(other))
    assert len(studio.masks) == masks  # the mask is the same to the byte


# ------------------------------------------------------------------ mishaps
def slow_edit(page: Page, steps: int) -> str:
    """Start an edit of so many steps."""
    page.locator("#settings-part summary").click()
    page.get_by_label("steps", exact=True).fill(str(steps))
    page.get_by_label("steps", exact=True).press("Enter")
    return run(page)


def test_reload_in_the_middle_loses_nothing(opened):
    page = opened("Change by words")
    brush(page, 12)
    drag(page, (40, 40), (80, 60))
    by_words(page)
    edit = slow_edit(page, steps=300)
    mask = "async () => (await import('/static/studio/stage.js')).maskPng()"
    before = page.evaluate(mask)
    assert before
    page.reload()
    expect(page.locator("#target")).to_have_value("a dog")
    expect(page.get_by_label("steps", exact=True)).to_have_value("300")
    expect(page.locator("#empty")).to_be_hidden()
    assert page.evaluate(mask) == before
    finish(page, edit)
    expect(page.locator("#result")).to_be_visible()


def test_the_queue_is_shown_and_what_waits_or_runs_is_cancelled(opened):
    page = opened("Drag")
    points(page)
    first = slow_edit(page, steps=999)
    expect(card(page, first)).to_contain_text("network evaluations", timeout=SLOW)
    second, third = run(page), run(page)
    expect(card(page, second)).to_contain_text("Waits for one edit before it")
    expect(card(page, third)).to_contain_text("Waits for 2 edits before it")
    for edit in (second, first, third):
        card(page, edit).get_by_text("Cancel").click()
        finish(page, edit, "cancelled")
    expect(card(page, first).get_by_text("as PNG")).to_have_count(0)


def test_a_killed_studio_goes_on_where_it_was(opened, studio):
    page = opened("Drag")
    points(page)
    edit = slow_edit(page, steps=999)
    expect(card(page, edit)).to_contain_text("network evaluations", timeout=SLOW)
    page.goto("about:blank")  # the browser itself would tell its console of the lost connection
    studio.stop(signal.SIGKILL)
    studio.start()
    page.goto(studio.address)
    finish(page, edit, "interrupted")
    expect(page.locator("#prompt")).to_have_value("noise")
    page.get_by_label("steps", exact=True).wait_for(state="attached", timeout=SLOW)
    page.locator("#settings-part summary").click()
    page.get_by_label("steps", exact=True).fill("")
    page.get_by_label("steps", exact=True).press("Enter")
    finish(page, run(page))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.jpg", b"no photo"),
        ("empty.png", b""),
        ("half.png", None),
        ("script.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    ],
)
def test_a_bad_photo_is_refused_by_a_sentence(opened, studio, name, content):
    page = opened()
    whole = studio.photo.read_bytes()
    file = {"name": name, "mimeType": "", "buffer": whole[:200] if content is None else content}
    page.set_input_files("#file", file)
    expect(page.locator("#trouble")).to_contain_text("This file cannot be read as an image")
    expect(page.locator("#empty")).to_be_hidden()  # the photo before stays


def test_a_huge_upload_is_refused(opened, studio, tmp_path):
    huge = tmp_path / "huge.png"
    huge.touch()
    with huge.open("r+b") as file:
        file.truncate(MOST_BYTES + 1)
    page = opened()
    page.set_input_files("#file", huge)
    expect(page.locator("#trouble")).to_contain_text("larger than 64 MB")
    own = f"http://127.0.0.1:{studio.port}"
    assert studio.request("POST", "/photos", b"a" * (MOST_BYTES + 1), origin=own) == 413


def test_a_setting_that_is_no_value_is_named(opened):
    page = opened("Change by words")
    by_words(page)
    page.locator("#settings-part summary").click()
    for text, said in (("0", "steps"), ("5,6", "not one value"), ("ten", "steps")):
        page.get_by_label("steps", exact=True).fill(text)
        page.get_by_label("steps", exact=True).press("Enter")
        expect(page.locator("#cost")).to_contain_text(said, timeout=SLOW)
        expect(page.locator("#run")).to_be_disabled()


def test_ten_tabs_follow_one_edit(opened, studio):
    page = opened("Change by words")
    tabs = [page.context.new_page() for _ in range(9)]
    for tab in tabs:
        tab.goto(studio.address)
    by_words(page)
    edit = run(page)
    for tab in (page, *tabs):
        finish(tab, edit)
    page.close()  # the tab that held the stream
    tabs[0].set_input_files("#file", studio.photo)
    tabs[0].get_by_text("Change by words", exact=True).click()
    by_words(tabs[0])
    after = run(tabs[0])
    for tab in tabs:
        finish(tab, after)


@pytest.mark.parametrize(
    "path",
    ["/images/../../photo.png", "/images/%2e%2e%2fphoto.png", "/images/", "/edits/../edit.json"],
)
def test_no_path_leads_to_a_file(studio, path):
    assert studio.request("GET", path) in (400, 404)


def test_another_site_changes_nothing(studio):
    foreign = {"origin": "http://evil.example"}
    for path in ("/photos", "/plan", "/edits"):
        assert studio.request("POST", path, b"{}", **foreign) == 403
    assert studio.request("GET", "/", host="evil.example") == 403


# ------------------------------------------------------------------ everybody
def tab_to(page: Page, selector: str) -> None:
    for _ in range(60):
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} is not reached")


def test_the_keyboard_alone_is_enough(open_page, studio):
    page = open_page(studio.address)
    page.on("filechooser", lambda _: None)  # from now on choosers are told of, not first at the key
    tab_to(page, "#file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(studio.photo)
    expect(page.locator("#empty")).to_be_hidden()

    tab_to(page, "[name=kind]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Drag", exact=True)).to_be_checked()
    page.evaluate("document.getElementById('main').focus()")
    tab_to(page, "#canvas")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    middle = (WIDTH // 2, HEIGHT // 2)
    assert numbers(page) == [*middle, middle[0] + 10, middle[1] + 1]
    tab_to(page, "#prompt")
    page.keyboard.type("noise")
    expect(page.locator("#run")).to_be_enabled(timeout=SLOW)
    tab_to(page, "#run")
    page.keyboard.press("Enter")
    expect(page.locator("#history > li").first).to_have_attribute(
        "data-status", "done", timeout=SLOW
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(opened, accessibility, width, dark):
    page = opened("Drag", width=width, dark=dark)
    assert not accessibility(page)
    points(page)
    finish(page, run(page))
    assert not accessibility(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
