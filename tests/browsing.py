"""A real browser for tests of the service's page; they are skipped where there is no Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from tests.bento import Server

_CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if _CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=_CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield started
        started.close()


class Visit:
    """The page in a browser that knows nothing of it yet."""

    def __init__(self, browser: Browser, server: Server, **options: object) -> None:
        self.context = browser.new_context(base_url=server.url, **options)  # type: ignore[arg-type]
        self.context.set_default_timeout(20_000)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        # what a policy forbids is told on the console too
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto("/")

    def _told(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def add(self, *videos: Path) -> Locator:
        """Choose videos; the card of the last one."""
        self.page.set_input_files("#files", videos)
        return self.page.locator(".card").first

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)


def axe(page: Page) -> dict[str, object]:
    """Violations of rules of accessibility."""
    return {each["id"]: each["nodes"] for each in Axe().run(page).response["violations"]}
