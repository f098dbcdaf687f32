"""What all clients for tasks promise, against a real server that answers badly."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

from tests.ext.calling import IN_TASKS, client_async, drop_in_async, own_errors
from tests.ext.test_clients_in_threads import (
    LONG_BEFORE,
    SOON,
    STUCK,
    TENANT,
    answers,
    quick,
)
from tests.ext.upstream import Authority, Upstream, deaf
from tests.loops import Run
from tether import Canceled, Context, DeadlineExceeded, background
from tether.wire import REQUEST_ID

pytestmark = pytest.mark.parametrize("name", IN_TASKS)


@pytest.mark.parametrize("path", STUCK)
def test_a_call_that_is_stuck_ends_with_a_context_that_is_not_entered(
    name: str, path: str, any_up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        async with client_async(name, authority) as get:
            assert await get(background(), any_up.url + "/ok") == b"ok"
            ctx = background().with_timeout(SOON)
            with quick(), pytest.raises(DeadlineExceeded) as caught:
                await get(ctx, any_up.url + path)
            assert caught.value.ctx is ctx
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            await asyncio.to_thread(any_up.left, path)
            fresh = background().with_timeout(LONG_BEFORE)
            assert await get(fresh, any_up.url + "/ok") == b"ok"
            fresh.cancel()
            assert any_up.connections == 2

    run(main)


@pytest.mark.parametrize("path", STUCK)
def test_a_call_that_is_stuck_ends_with_the_block_around_it(
    name: str, path: str, up: Upstream, authority: Authority, run: Run
) -> None:
    """What is inside the block cannot take the block's end for its own."""

    async def main() -> list[str]:
        seen = []
        async with client_async(name, authority) as get:
            with quick(), pytest.raises(Canceled) as caught:
                with background().with_cancel() as ctx:
                    up.on(path, ctx.cancel)
                    with ctx.with_timeout(LONG_BEFORE) as inner:
                        try:
                            await get(inner, up.url + path)
                        except Exception as exc:
                            seen.append(type(exc).__name__)
                            raise
            assert caught.value.ctx is ctx
            assert await get(background(), up.url + "/ok") == b"ok"
        return seen

    assert run(main) == []


def test_a_call_in_a_task_that_only_inherits_the_block_ends_too(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        async with drop_in_async(name, authority) as get:
            with background().with_cancel() as ctx:
                task = asyncio.create_task(get(up.url + "/hang"))
                await asyncio.to_thread(up.asked, "/hang")
                with ctx.without_cancel().with_cancel():
                    ctx.cancel()
                    with pytest.raises(Canceled):
                        await task

    run(main)


def test_nothing_is_sent_when_it_is_over(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        ctx = background().with_cancel()
        ctx.cancel()
        async with client_async(name, authority) as get:
            with pytest.raises(Canceled):
                await get(ctx, up.url + "/ok")

    run(main)
    assert up.connections == 0


def test_the_drop_in_follows_the_block_around_it(
    name: str, any_up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        async with drop_in_async(name, authority) as get:
            for path in STUCK:
                with quick(), pytest.raises(DeadlineExceeded):
                    with background().with_timeout(SOON):
                        await get(any_up.url + path)
                assert await get(any_up.url + "/ok") == b"ok"

    run(main)


def test_the_librarys_own_errors_pass(
    name: str, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
            async with client_async(name, authority) as get:
                with background().with_timeout(60.0) as ctx:
                    with pytest.raises(own_errors(name)):
                        await get(ctx, url)

    run(main)


def test_the_wait_for_a_full_listener_ends(
    name: str, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        with deaf() as port:
            async with client_async(name, authority) as get:
                ctx = background().with_timeout(SOON)
                with quick(), pytest.raises(DeadlineExceeded):
                    await get(ctx, f"http://127.0.0.1:{port}/")

    run(main)


def test_all_addresses_together_have_one_budget(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with deaf("127.0.0.2") as port, deaf("127.0.0.3", port):
            addresses = [("127.0.0.2", port), ("127.0.0.3", port)] * 20
            monkeypatch.setattr(socket, "getaddrinfo", answers(*addresses))
            async with client_async(name, authority) as get:
                ctx = background().with_timeout(SOON)
                with quick(), pytest.raises(DeadlineExceeded):
                    await get(ctx, f"http://shop.test:{port}/")

    Run("asyncio")(main)  # uvloop resolves in C


def test_the_wait_for_the_only_connection_ends(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        async with client_async(name, authority) as get:
            holder = background().with_cancel()
            holding = asyncio.create_task(get(holder, up.url + "/hang"))
            await asyncio.to_thread(up.asked, "/hang")
            ctx = background().with_timeout(SOON)
            with quick(), pytest.raises(DeadlineExceeded):
                await get(ctx, up.url + "/ok")
            patient = asyncio.create_task(get(background(), up.url + "/ok"))
            holder.cancel()
            with pytest.raises(Canceled):
                await holding
            assert await patient == b"ok"

    run(main)
    assert up.requests.count("/ok") == 1


def test_redirects_ask_the_context(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        ctx = background().with_cancel()
        up.on("/again?3", ctx.cancel)
        async with client_async(name, authority) as get:
            with pytest.raises(Canceled):
                await get(ctx, up.url + "/again")

    run(main)
    assert up.requests == ["/again", "/again?1", "/again?2", "/again?3"]


def test_the_deadline_and_the_declared_values_go_along(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    async def ask(get: Any, ctx: Context) -> dict[str, str]:
        head: dict[str, str] = json.loads(await get(ctx, up.url + "/echo"))
        return head

    async def main() -> None:
        ctx = background().with_value(REQUEST_ID, "7d1").with_value(TENANT, "Zoë\nX: y")
        async with client_async(name, authority) as get:
            scope = ctx.with_timeout(30.0)
            first = await ask(get, scope)
            time.sleep(0.01)
            second = await ask(get, scope)
            third = await ask(get, background())
            scope.cancel()
        assert first["x-request-id"] == "7d1"
        assert first["x-test-tenant"] == "Zo%C3%AB%0AX:%20y"
        left = [int(head["x-request-timeout-ms"]) for head in (first, second)]
        assert 30_000 > left[0] >= left[1] + 10 > 20_000
        ours = {"x-request-id", "x-test-tenant", "x-request-timeout-ms"}
        assert not ours & third.keys()

    run(main)


def test_a_foreign_cancel_passes(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> None:
        async with client_async(name, authority) as get:
            ctx = background().with_timeout(LONG_BEFORE)
            task = asyncio.create_task(get(ctx, up.url + "/hang"))
            await asyncio.to_thread(up.asked, "/hang")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ctx.cancel()
            assert await get(background(), up.url + "/ok") == b"ok"

    run(main)


def test_what_is_not_a_context_is_refused(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    wrong: Any = up.url

    async def main() -> None:
        async with client_async(name, authority) as get:
            with pytest.raises(TypeError, match="context first"):
                await get(wrong, up.url)

    run(main)


@pytest.mark.stress
def test_no_connection_is_lost_when_calls_end_around_their_answer(
    name: str, up: Upstream, authority: Authority, run: Run
) -> None:
    async def main() -> int:
        over = 0
        async with client_async(name, authority) as get:
            url = up.url + "/ok"
            for n in range(300):
                ctx = background().with_timeout(0.0002 + n % 30 * 0.0001)
                try:
                    assert await get(ctx, url) == b"ok"
                except DeadlineExceeded:
                    over += 1
                ctx.cancel()
                assert await get(background(), url) == b"ok"  # the pool has one place
        return over

    assert run(main) > 0
