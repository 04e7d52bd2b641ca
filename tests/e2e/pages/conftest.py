"""A browser, and what every page must keep to: no error in its console, nothing from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skipped without it.

    While it is there an event loop runs, in which other tests can start none: so for a module only.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens an address as somebody of their own, in a window of the size that is asked for.

    When the test ends, no page may have an error in its console, or have asked for anything
    elsewhere than at its own address.
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def opened(address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        own = "/".join(address.split("/")[:3])  # file:// of a page on disk
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda asked: _is_foreign(asked.url, own) and problems.append(asked.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems


def _is_foreign(address: str, own: str) -> bool:
    return not address.startswith((f"{own}/", "data:", "blob:"))


@pytest.fixture(scope="session")
def accessibility() -> Callable[[Page], list[str]]:
    """What axe finds wrong with a page as it is now."""
    axe = Axe()

    def found(page: Page) -> list[str]:
        # Without preload: it would fetch the style sheets, which a page on disk may not.
        violations = axe.run(page, options={"preload": False}).response["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in violations]

    return found
