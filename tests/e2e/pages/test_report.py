"""The report in a browser, opened from the disk."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from sde_edit.commands.compare import pair_of
from sde_edit.config import data_set
from sde_edit.imaging.files import from_png, read_output
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import Run
from sde_edit.web.report.collect import ShownRun
from sde_edit.web.report.write import write_report
from tests.builders import box_mask, picture
from tests.e2e.pages.conftest import Open
from tests.edited import edited_runs, write_table

ATTACK = "<img src=x onerror=document.title='attacked'>'\"&</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run], list[Run]]:
    """A results folder with runs that inpaint and runs that drag, two tables and their report."""
    results = tmp_path_factory.mktemp("report") / "results"
    photos = _photos(results.parent)
    inpaint = edited_runs(results, "task=inpaint", "steps=25", *photos)
    drag = edited_runs(results, "task=drag", "data=shapes-drags", "data.n=4", "steps=25")
    write_table(results, "filled", inpaint, title=f"Filled {ATTACK}")
    write_table(results, "dragged", drag)
    write_report([f"paths.results={results}"])
    return results, inpaint, drag


def _photos(folder: Path) -> list[str]:
    """Six wide pictures with masks and captions, two of them in a folder of their own."""
    captions = {}
    for k in range(6):
        name = f"{'park/' if k > 3 else ''}photo #{k}?%20"
        for kind, made in (("images", picture(48, 32, seed=k)), ("masks", _mask(k))):
            file = folder / kind / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            made.save(file)
        captions[name] = ATTACK if k == 1 else f"picture {k}"
    write_atomic(folder / "captions.json", json.dumps(captions).encode())
    where = [f"data.images={folder / 'images'}", f"data.mask_root={folder / 'masks'}"]
    return [
        *("data=folder", *where, "data.hole=white", "data.resolution=32", "data.fit=keep"),
        *(f"data.captions={folder / 'captions.json'}", "data.prompt='{caption}'"),
    ]


def _mask(k: int) -> Image.Image:
    """A mask that hides 1/12, 2/12, ... of a picture of 48 x 32."""
    return box_mask(48, 32, (0, 0, 4 * (k + 1), 32))


@pytest.fixture
def page(open_page: Open, store: tuple[Path, list[Run], list[Run]]) -> Page:
    """A page on which nothing may go wrong and that may ask for nothing foreign."""
    return open_page((store[0] / "report" / "index.html").as_uri())


def goto(page: Page, store, name: str, hash_: str = "") -> None:
    page.goto(f"{(store[0] / 'report' / name).as_uri()}{hash_}")


def open_examples(page: Page, store, table: str = "filled") -> None:
    """Follow the difference in PSNR to its examples."""
    goto(page, store, f"tables/{table}.html")
    page.click("tr.difference a >> nth=0")
    expect(page.locator("#examples li").first).to_be_visible()


def ids(page: Page) -> list[str]:
    return page.locator("#examples .id").all_text_contents()


def expect_ids(page: Page, expected: list[str]) -> None:
    """Wait until these examples are listed, in this order."""
    expect(page.locator("#examples .id")).to_have_text(expected)


def state(page: Page) -> dict[str, str]:
    """What the address keeps, once it is written."""
    page.wait_for_timeout(300)
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


# ------------------------------------------------------------------ the overview
def test_overview_loads_a_table_when_it_is_opened_and_leads_to_its_examples(page, store):
    goto(page, store, "index.html")
    assert page.locator("details[data-load] table").count() == 0
    page.get_by_text("Table dragged").click()
    page.locator("details[open] tr.difference a").first.click()
    expect(page.locator("#examples li")).to_have_count(4)
    page.get_by_role("link", name="Back to the numbers").click()
    expect(page.get_by_role("heading", name="Table dragged")).to_be_visible()


def test_note_of_a_number_shows_on_hover_and_focus_and_goes_with_escape(page, store):
    goto(page, store, "tables/filled.html")
    number = page.locator("tbody a").first
    note = page.locator("#note")
    for show in (number.hover, number.focus):
        show()
        expect(note).to_contain_text("n = 6")
        expect(note).to_contain_text("psnr by its convention")
        expect(note).to_contain_text(f"run {store[1][0].id}")
        page.keyboard.press("Escape")
        expect(note).to_be_hidden()
        page.mouse.move(0, 0)


def test_number_whose_runs_are_not_here_says_so(page, store):
    goto(page, store, "tables/filled.html")
    page.locator("tbody button").first.click()
    expect(page.locator("#note")).to_contain_text("Its images are not here")
    expect(page.get_by_text("The images of 4 cells are not here")).to_be_visible()


def test_runs_are_sorted_by_a_column_and_lead_to_their_examples(page, store):
    goto(page, store, "runs.html")
    page.get_by_role("button", name="psnr").click()
    page.get_by_role("button", name="psnr").click()
    assert page.locator("th[aria-sort=descending]").count() == 1
    best = page.locator("tbody tr").first
    values = page.locator("tbody td[data-key]").evaluate_all("all => all.map(x => x.dataset.key)")
    assert len(values) > 4
    best.get_by_role("link").click()
    expect(page.locator("#examples li").first).to_be_visible()
    expect(page.locator("#controls [name=a]")).to_have_value(store[1][1].id)


# ------------------------------------------------------------------ the list
def test_examples_are_sorted_by_the_paired_difference_or_a_value(page, store):
    open_examples(page, store)
    expect(page.locator("#where")).to_contain_text(f"A is run {store[1][1].id}: task inpaint")
    expect(page.locator("#found")).to_have_text(
        "6 of 6 examples. A is better on 2 of 6, B on 2, equal 2."
    )
    by_id = sorted(ids(page))
    a_better, b_better, equal = by_id[0::3], by_id[1::3], by_id[2::3]
    expect_ids(page, [*a_better, *equal, *b_better])
    page.select_option("[name=sort]", "last")
    expect_ids(page, [*b_better, *equal, *a_better])
    page.select_option("[name=sort]", "-b")
    expect_ids(page, by_id[::-1])


def test_examples_are_filtered_by_verdict_mask_category_and_words(page, store):
    open_examples(page, store)
    every = sorted(ids(page))
    page.select_option("[name=sort]", "id")
    page.select_option("[name=verdict]", "b")
    expect_ids(page, [every[1], every[4]])
    page.select_option("[name=verdict]", "")
    page.select_option("[name=category]", "park")
    expect_ids(page, every[:2])
    page.select_option("[name=category]", "")
    page.fill("[name=from]", "15")
    page.fill("[name=to]", "35")
    expect_ids(page, ["photo #1?%20", "photo #2?%20", "photo #3?%20"])
    page.keyboard.press("Tab")
    page.locator("#viewer-title").focus()
    page.keyboard.press("/")
    page.keyboard.type("PICTURE 3")
    expect_ids(page, ["photo #3?%20"])
    expect(page.locator("#found")).to_contain_text("1 of 6 examples.")


def test_differences_are_those_of_the_program(page, store):
    """By `sde-edit compare`, with the same rounding."""
    open_examples(page, store)
    ode, sde = store[1]
    shown = page.evaluate(
        """async ([a, b, data]) => {
          const left = await report.load(`runs/${a}`);
          const right = await report.load(`runs/${b}`);
          const { examples } = await report.load(`examples/${data}`);
          const { rounding } = await report.load("pages/tables/filled");
          left.metrics.psnr.values[0] = right.metrics.psnr.values[0] * (1 + rounding / 2);
          const items = report.compare.items(examples, left, right, "psnr", rounding);
          return Object.fromEntries(items.map(({ example, gain }) => [example.id, gain]));
        }""",
        [sde.id, ode.id, ShownRun(sde, sde.spec, {}).data],
    )
    gains = pair_of(sde, ode).gains("psnr")
    first = min(gains)
    assert shown == {**gains, first: 0}


def test_metric_without_single_values_is_said(page, store):
    goto(page, store, "tables/filled.html")
    page.locator("tr.difference a").last.click()
    expect(page.locator("#notice")).to_contain_text("shapes FID has no value for single images")
    expect(page.locator("[name=m]")).to_have_value("psnr")


def test_values_are_downloaded_as_they_are_filtered(page, store, tmp_path):
    open_examples(page, store)
    page.select_option("[name=verdict]", "b")
    expect_ids(page, ["park/photo #5?%20", "photo #2?%20"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Download these values").click()
    download.value.save_as(tmp_path / "values.csv")
    with (tmp_path / "values.csv").open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    assert head[:3] == ["id", "caption", "target"]
    captions = [(line[0], line[1]) for line in lines]
    assert captions == [("park/photo #5?%20", "picture 5"), ("photo #2?%20", "picture 2")]


# ------------------------------------------------------------------ the stage
def test_panes_pan_and_zoom_together(page, store):
    open_examples(page, store)
    page.locator("#examples button").first.click()
    layers = page.locator("#panes .layers")
    expect(layers).to_have_count(4)  # source, A, B, their difference
    box = page.locator("#panes .view").nth(1).bounding_box()
    assert box
    assert box["width"] / box["height"] == pytest.approx(48 / 32, rel=0.02)
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.wheel(0, -100)
    page.mouse.wheel(0, -100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4 - 30, box["y"] + box["height"] / 4 - 20)
    page.mouse.up()
    moved = layers.evaluate_all("all => all.map(x => getComputedStyle(x).transform)")
    assert len({*moved}) == 1
    scale, _, _, _, x, y = (float(part) for part in moved[0][7:-1].split(","))
    assert scale == pytest.approx(1.25**2)
    # The place below the pointer stayed where it was, and then followed the pointer.
    assert x == pytest.approx(-box["width"] / 4 * (1.25**2 - 1) - 30, abs=1)
    assert y == pytest.approx(-box["height"] / 4 * (1.25**2 - 1) - 20, abs=1)
    page.keyboard.press("0")
    assert layers.first.evaluate("x => getComputedStyle(x).transform") == "matrix(1, 0, 0, 1, 0, 0)"


def test_keyboard_alone_goes_through_examples_and_views(page, store):
    open_examples(page, store)
    order = ids(page)
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    title = page.locator("#stage-title")
    expect(title).to_have_text(order[0])
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text(order[1])
    page.keyboard.press("b")
    caption = page.locator("#panes figcaption")
    expect(caption).to_contain_text("A: SDE")
    page.keyboard.press("Space")
    expect(caption).to_contain_text("B: ODE")
    page.keyboard.press("l")
    expect(page.locator("#panes .slider")).to_be_visible()
    page.locator("input[name=slider]").focus()
    page.keyboard.press("End")
    assert state(page)["slider"] == "100"
    page.keyboard.press("Escape")
    expect(page.locator("#stage")).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.id") == order[1]


def test_state_survives_a_reload(page, store):
    open_examples(page, store)
    page.select_option("[name=sort]", "last")
    page.select_option("[name=verdict]", "b")
    expect(page.locator("#examples li")).to_have_count(2)
    page.locator("#examples button").nth(1).click()
    page.keyboard.press("l")
    page.keyboard.press("+")
    page.keyboard.press("m")
    before, shown = state(page), page.locator("#stage-title").inner_text()
    page.reload()
    expect(page.locator("#panes .slider")).to_be_visible()
    assert state(page) == before
    assert page.locator("#stage-title").inner_text() == shown
    assert page.locator("#panes .mask").count() == 0
    page.keyboard.press("Escape")
    expect(page.locator("#examples li")).to_have_count(2)


def test_back_closes_the_stage_and_then_the_examples(page, store):
    open_examples(page, store)
    page.locator("#examples button").first.click()
    expect(page.locator("#stage")).to_be_visible()
    page.go_back()
    expect(page.locator("#stage")).to_be_hidden()
    expect(page.locator("#viewer")).to_be_visible()
    page.go_back()
    expect(page.locator("#numbers")).to_be_visible()


def pixels(locator: Locator) -> NDArray[np.int64]:
    """The colours of a part of the page, read from a screenshot: [H, W, 3]."""
    shot = from_png(locator.screenshot(animations="disabled"), name="screenshot")
    return np.asarray(shot.convert("RGB")).astype(np.int64)


def test_mask_and_points_lie_where_the_data_have_them(page, store):
    open_examples(page, store)
    page.locator("#examples button").filter(has_text="photo #2?%20").click()
    source = page.locator("#panes .view").first
    page.wait_for_timeout(200)
    covered = pixels(source)
    page.keyboard.press("m")
    page.wait_for_timeout(200)
    changed = (abs(covered - pixels(source)).sum(axis=-1) > 8).mean(axis=0)
    share = len(changed) * 12 / 48  # the mask hides 12 of 48 columns
    assert changed[: int(share) - 2].min() > 0.9
    assert changed[int(share) + 2 :].max() < 0.1


def test_arrows_of_drags_are_drawn_from_source_to_target(page, store):
    open_examples(page, store, "dragged")
    page.locator("#examples button").first.click()
    view = page.locator("#panes .view").first.locator("svg")
    expect(view).to_have_attribute("viewBox", "0 0 64 64")
    example = page.locator("#stage-title").inner_text()
    drag = data_set(["data=shapes-drags", "data.n=4"])[1].load(example).drags[0]
    path = view.locator("path").first.get_attribute("d")
    assert path
    first = [float(part) for part in re.split("[ ML]", path)[1:5]]
    assert first == pytest.approx([*drag.source, *drag.target])
    expect(page.locator("#panes figure")).to_have_count(5)  # with the truth


def test_row_has_a_page_of_its_own(page, store):
    open_examples(page, store)
    page.locator("#examples button").first.click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="The row on a page of its own").click()
    row = opened.value
    expect(row.locator("figure img")).to_have_count(3)
    sizes = row.locator("figure img").evaluate_all("all => all.map(x => x.naturalWidth)")
    assert sizes == [48, 48, 48]
    expect(row.locator("#save")).to_contain_text("Save this page")


@pytest.fixture
def served(store: tuple[Path, list[Run], list[Run]]) -> Iterator[str]:
    """The address of the results folder, served over HTTP."""
    handler = partial(_Quiet, directory=str(store[0]))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing of requests."""


def test_images_and_rows_are_downloaded_over_http(open_page, store, served, tmp_path):
    ode, sde = store[1]
    shown = urlencode({"c": 0, "a": sde.id, "b": ode.id, "x": "photo #3?%20"})
    page = open_page(f"{served}/report/tables/filled.html#{shown}")
    with page.expect_download() as download:
        page.locator("figcaption").filter(has_text="A: SDE").first.get_by_role("link").click()
    (record,) = [r for r in sde.rows().values() if r.id == "photo #3?%20"]
    assert download.value.path().read_bytes() == sde.output(record).read_bytes()
    page.goto(page.locator("#row").evaluate("link => link.href"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as one PNG").click()
    assert download.value.suggested_filename == "photo #3_%20.png"  # as Chromium names files
    row = np.asarray(from_png(download.value.path().read_bytes(), name="row").convert("RGB"))
    assert row.shape == (32 + 20 + 24, 3 * 48 + 4 * 12, 3)
    output = np.asarray(read_output(sde.output(record)))
    assert np.array_equal(row[32 : 32 + 32, 72 : 72 + 48], output)  # source, A, B


# ------------------------------------------------------------------ safety and access
def test_row_shows_only_files_of_the_results_folder(page, store):
    foreign = ("https://evil.example/x.png", "//evil.example/x.png", "../../../../etc/passwd")
    hash_ = "&".join(["#id=a", *(f"b={path}" for path in foreign)])
    goto(page, store, "row.html", hash_)
    expect(page.get_by_role("heading", name="a")).to_be_visible()
    assert page.locator("img").count() == 0


def test_texts_of_the_data_are_never_markup(page, store):
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    goto(page, store, "index.html")
    page.locator("summary").filter(has_text="Filled").click()
    expect(page.locator("details[open] table").first).to_be_visible()
    open_examples(page, store)
    expect(page.locator("#examples").get_by_text(ATTACK)).to_be_visible()
    page.locator("#examples button").filter(has_text="photo #1").click()
    expect(page.locator("#texts")).to_have_text(ATTACK)
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == f"Filled {ATTACK}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, store, accessibility, scheme):
    page.emulate_media(color_scheme=scheme)
    for name in ("index.html", "runs.html", "tables/filled.html", "row.html"):
        goto(page, store, name)
        for summary in page.locator("summary:visible").all():
            summary.click()
        page.wait_for_timeout(100)
        assert accessibility(page) == []
    open_examples(page, store)
    assert accessibility(page) == []
    page.locator("#examples button").first.click()
    for key in ("s", "l", "b"):
        page.keyboard.press(key)
        assert accessibility(page) == []


def test_link_to_the_content_keeps_what_is_shown(page, store):
    open_examples(page, store)
    before = state(page)
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert state(page) == before
    expect(page.locator("#viewer")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "main"


def test_narrow_page_does_not_scroll_sideways(page, store):
    page.set_viewport_size({"width": 360, "height": 700})
    goto(page, store, "index.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    open_examples(page, store)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#examples button").first.click()
    assert page.locator("#stage").evaluate("x => x.scrollWidth - x.clientWidth") <= 0
