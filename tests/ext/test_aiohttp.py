"""tether.ext.aiohttp, what is aiohttp's own: responses, middlewares, timeouts."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.ext.test_clients_in_threads import SOON, quick
from tests.ext.upstream import Upstream
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, background
from tether.ext.aiohttp import ClientSession, Middleware
from tether.wire import REQUEST_ID, Outbound


@pytest.mark.parametrize("how", ["read", "text", "iter", "line"])
def test_each_way_to_read_a_body_is_bound(how: str, up: Upstream, run: Run) -> None:
    async def main() -> None:
        async with ClientSession() as http:
            ctx = background().with_cancel()
            async with http.get(ctx, up.url + "/chunks") as response:
                asyncio.get_running_loop().call_later(SOON, ctx.cancel)
                with quick(), pytest.raises(Canceled) as caught:
                    if how == "read":
                        await response.read()
                    elif how == "text":
                        await response.text()
                    elif how == "line":
                        await response.content.readline()
                    else:
                        async for _ in response.content.iter_any():
                            pass
                assert caught.value.ctx is ctx
            await asyncio.to_thread(up.left, "/chunks")

    run(main)


def test_what_has_come_can_be_read_after_the_end(up: Upstream, run: Run) -> None:
    async def main() -> None:
        async with ClientSession() as http:
            with background().with_cancel() as ctx:
                response = await http.get(ctx, up.url + "/ok")
                assert await response.read() == b"ok"
            assert await response.text() == "ok"

    run(main)


def test_aiohttps_own_timeouts_are_its_own_errors(up: Upstream, run: Run) -> None:
    async def main() -> None:
        timeout = aiohttp.ClientTimeout(total=SOON)
        async with ClientSession(timeout=timeout) as http:
            with background().with_timeout(60.0) as ctx:
                for path in ("/hang", "/half"):
                    with pytest.raises(TimeoutError) as caught:
                        async with http.get(ctx, up.url + path) as response:
                            await response.read()
                    assert not isinstance(caught.value, DeadlineExceeded)

    run(main)


def test_a_middleware_that_repeats_goes_through_it_each_time(
    up: Upstream, run: Run
) -> None:
    async def main() -> None:
        ctx = background().with_value(REQUEST_ID, "7d1").with_timeout(60.0)

        async def thrice(request: Any, handler: Any) -> Any:
            for _ in range(2):
                (await handler(request)).release()
            if request.url.path == "/hang":
                raise AssertionError("not reached")
            return await handler(request)

        own = (thrice, Middleware())
        async with aiohttp.ClientSession(middlewares=own) as plain:
            http = ClientSession(plain)
            async with http.get(ctx, up.url + "/ok") as response:
                assert await response.read() == b"ok"
            up.on("/half", ctx.cancel)
            with pytest.raises(Canceled):
                async with http.get(ctx, up.url + "/half") as response:
                    await response.read()
        left = [int(head["x-request-timeout-ms"]) for head in up.heads]
        assert len(left) == 4
        assert left == sorted(left, reverse=True)

    run(main)


def test_an_existing_session_with_the_middleware_is_bound_to_the_given_context(
    up: Upstream, run: Run
) -> None:
    """Not to the scope around the call, which is left before the body is read."""

    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=(Middleware(),)) as plain:
            with background().with_timeout(60.0) as ctx:
                response = await ClientSession(plain).get(ctx, up.url + "/chunks")
                with pytest.raises(DeadlineExceeded):
                    with ctx.with_timeout(SOON):
                        await response.read()
                response.close()

    run(main)


def test_all_verbs_are_aiohttps(up: Upstream, run: Run) -> None:
    verbs = ["get", "options", "head", "post", "put", "patch", "delete"]

    async def main() -> None:
        async with ClientSession(base_url=up.url) as http:
            with background().with_timeout(60.0) as ctx:
                for verb in verbs:
                    async with getattr(http, verb)(ctx, "/ok") as response:
                        assert response.status == 200
                async with http.head(ctx, "/again") as response:
                    assert response.status == 302

    run(main)
    sent = [head[":method"] for head in up.heads]
    assert sent == [verb.upper() for verb in (*verbs, "head")]


def test_a_stranger_is_told_nothing(up: Upstream, run: Run) -> None:
    async def main() -> None:
        stranger = Outbound(timeout=None, values=False, trace=False)
        ctx = background().with_value(REQUEST_ID, "7d1").with_timeout(30.0)
        async with ClientSession(outbound=stranger) as http:
            async with http.get(ctx, up.url + "/ok"):
                pass
        assert not {"x-request-id", "x-request-timeout-ms"} & up.heads[0].keys()
        ctx.cancel()

    run(main)
