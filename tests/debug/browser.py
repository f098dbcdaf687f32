"""A headless Chromium, driven by its own protocol: no driver has to be installed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from shutil import which
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0"),
)

LOADED = "Page.loadEventFired"


def program() -> str | None:
    """Where a browser is; None: nowhere."""
    return next((found for name in NAMES if (found := which(name))), None)


class Tab:
    """A page in the browser."""

    def __init__(self, wire: ClientConnection, session: str) -> None:
        self._wire = wire
        self._session = session
        self._count = 100

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        self._count += 1
        return await command(self._wire, self._count, method, params, self._session)

    async def eval(self, script: str) -> Any:
        answer = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """Its value, as soon as that is true."""
        async with asyncio.timeout(60.0):
            while not (value := await self.eval(script)):
                await asyncio.sleep(0.02)
        return value

    async def click(self, selector: str) -> None:
        where = await self.eval(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({block: 'center'}); const r = one.getBoundingClientRect();"
            "return [r.x + Math.min(r.width / 2, 40), r.y + r.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=where[0],
                y=where[1],
                button="left",
                clickCount=1,
            )

    async def key(self, text: Iterable[str]) -> None:
        for one in text:
            text = one if len(one) == 1 else ""  # Escape has none
            await self.call(
                "Input.dispatchKeyEvent", type="keyDown", text=text, key=one
            )
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=one)

    async def picture(self) -> bytes:
        answer = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])


async def command(
    wire: ClientConnection,
    number: int,
    method: str,
    params: dict[str, Any],
    session: str | None = None,
) -> dict[str, Any]:
    message: dict[str, Any] = {"id": number, "method": method, "params": params}
    if session is not None:
        message["sessionId"] = session
    await wire.send(json.dumps(message))
    while True:
        answer = json.loads(await wire.recv())
        if answer.get("id") == number:
            assert "error" not in answer, answer
            return answer["result"]  # type: ignore[no-any-return]


@asynccontextmanager
async def opened(path: str, url: str, *, dark: bool = False) -> AsyncIterator[Tab]:
    """A tab of a new browser with `url`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = await asyncio.create_subprocess_exec(
            *(path, *FLAGS, f"--user-data-dir={folder}", "about:blank"),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env=os.environ | {"HOME": folder},
        )
        try:
            assert browser.stderr is not None
            while True:
                line = (await browser.stderr.readline()).decode()
                assert line, "the browser has ended"
                if match := re.search(r"ws://\S+", line):
                    break
            async with connect(match[0], max_size=None, proxy=None) as wire:
                made = await command(
                    wire, 1, "Target.createTarget", {"url": "about:blank"}
                )
                target = {"targetId": made["targetId"], "flatten": True}
                session = await command(wire, 2, "Target.attachToTarget", target)
                tab = Tab(wire, session["sessionId"])
                scheme = {
                    "name": "prefers-color-scheme",
                    "value": "dark" if dark else "light",
                }
                await tab.call("Emulation.setEmulatedMedia", features=[scheme])
                await tab.call(
                    "Emulation.setDeviceMetricsOverride",
                    width=1400,
                    height=900,
                    deviceScaleFactor=1,
                    mobile=False,
                )
                await tab.call("Page.enable")
                await tab.call("Page.navigate", url=url)
                while json.loads(await wire.recv()).get("method") != LOADED:
                    pass
                yield tab
        finally:
            if browser.returncode is None:
                browser.terminate()
            # Its output is read to the end, so that it is not stopped by a full pipe.
            await browser.communicate()
