"""The page in a real browser: what a person at night sees and does."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.debug import browser
from tests.debug.sick import sick
from tether import debug
from tether.debug import _loops
from tether.debug._loops import LoopLook

ROOT = "GET /<img src=x onerror=document.title='owned'>"


@pytest.fixture
def chromium() -> str:
    path = browser.program()
    if path is None:
        pytest.skip("no Chromium here: test_server.py reads the page as HTML alone")
    return path


def test_a_person_finds_the_lock_and_its_holders(
    page: debug.Server, chromium: str
) -> None:
    async def main() -> None:
        async with (
            sick(300),
            sick(3, size=3, label="GET /health"),
            browser.opened(chromium, page.url) as tab,
        ):
            rows = "[...document.querySelectorAll('#task-groups tbody tr')]"
            await tab.until(f"{rows}.length > 2")
            text = await tab.eval("document.querySelector('#resources').innerText")
            assert "Pool.slots" in text
            assert "298" in text
            assert "2 \N{MULTIPLICATION SIGN} GET /prefetch" in text

            await tab.key("/")
            assert await tab.eval("document.activeElement.id") == "filter"
            await tab.key("health")
            await tab.until(
                f"{rows}.length == 1 && {rows}[0].innerText.includes('/health')"
            )
            await tab.click("#task-groups summary")
            assert await tab.until(
                "document.querySelector('#task-groups details').open"
            )
            lines = await tab.eval(
                "document.querySelector('#task-groups ol').innerText"
            )
            assert "sick.py:" in lines

            await tab.click("#pause")
            assert (
                await tab.eval("document.querySelector('#pause').ariaPressed") == "true"
            )

    asyncio.run(main())


def test_while_somebody_reads_a_row_the_rest_of_the_page_goes_on(
    page: debug.Server, chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops: list[LoopLook] = []
    monkeypatch.setattr(_loops, "look", lambda *_: loops[0])

    async def main() -> None:
        loops[:] = [LoopLook("MainThread", 0.0, stuck=False, task="", at="")]
        async with sick(50), browser.opened(chromium, page.url) as tab:
            await tab.until("document.querySelectorAll('#task-groups summary').length")
            await tab.click("#task-groups summary")
            text = "document.querySelector('#task-groups').innerText"
            async with sick(70, label="GET /later"):
                loops[:] = [LoopLook("MainThread", 9.0, stuck=True, task="", at="x:1")]
                await tab.until(
                    "document.querySelector('#alarm').innerText.includes('is stuck')"
                )
                count = "document.querySelector('#tasks').innerText"
                await tab.until(f"Number({count}) >= 120")
                resources = "document.querySelector('#resources').innerText"
                await tab.until(f"{resources}.includes('GET /later')")
                status = "document.querySelector('#status').innerText"
                await tab.until(f"{status}.includes('held while you read')")
                # What is being read stays where it is, until it is let go.
                assert "GET /later" not in await tab.eval(text)
                await tab.key(["Escape"])
                await tab.until(f"{text}.includes('GET /later')")

    asyncio.run(main())


def test_no_more_rows_are_drawn_than_somebody_reads(
    page: debug.Server, chromium: str
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            for number in range(120):
                await stack.enter_async_context(sick(1, label=f"GET /route{number}x"))
            async with browser.opened(chromium, page.url) as tab:
                rows = "document.querySelectorAll('#task-groups tbody tr').length"
                await tab.until(f"{rows} == 101")
                more = "document.querySelector('#task-groups .more').innerText"
                assert "more" in await tab.eval(more)
                await tab.key("/")
                await tab.key("route119x")
                await tab.until(f"{rows} == 1")

    asyncio.run(main())


def test_what_comes_from_the_process_is_never_markup(
    page: debug.Server, chromium: str
) -> None:
    async def main() -> None:
        async with (
            sick(5, label=ROOT),
            browser.opened(chromium, page.url) as tab,
        ):
            await tab.until(
                "document.body && document.body.innerText.includes('onerror')"
            )
            assert await tab.eval("document.images.length") == 0
            assert await tab.eval("document.title") == "tether: the live page"

    asyncio.run(main())


def test_a_narrow_page_shows_all_without_scrolling_sideways(
    page: debug.Server, chromium: str
) -> None:
    async def main() -> None:
        async with (
            sick(30, label="GET /" + "x" * 2000),
            browser.opened(chromium, page.url) as tab,
        ):
            await tab.call(
                "Emulation.setDeviceMetricsOverride",
                width=600,
                height=900,
                deviceScaleFactor=1,
                mobile=False,
            )
            table = "document.querySelector('#task-groups')"
            await tab.until(f"{table}.innerText.includes('Pool.slots')")
            assert await tab.eval(
                f"{table}.parentNode.scrollWidth <= {table}.parentNode.clientWidth"
            )
            root = f"{table}.querySelector('.root')"
            assert await tab.eval(f"{root}.title.length") == 2005
            assert await tab.eval(f"{root}.clientHeight < 100")
            # The program's own line is named, not only asyncio's.
            where = await tab.eval(f"{table}.querySelector('summary').innerText")
            assert "Pool.acquire debug/sick.py:" in where

    asyncio.run(main())


def test_the_page_is_dark_where_the_reader_is(
    page: debug.Server, chromium: str
) -> None:
    async def colors(*, dark: bool) -> str:
        async with browser.opened(chromium, page.url, dark=dark) as tab:
            await tab.until("!!document.querySelector('main')")
            color = await tab.eval("getComputedStyle(document.body).backgroundColor")
        return str(color)

    assert asyncio.run(colors(dark=False)) == "rgb(251, 251, 250)"
    assert asyncio.run(colors(dark=True)) == "rgb(22, 24, 27)"
