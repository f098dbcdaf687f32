"""What users hand to the code that they test: contexts, recorded clients, proxies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Group,
    Key,
    background,
)
from tether.testing import (
    Proxies,
    Proxy,
    VirtualClock,
    done_context,
    expiring_after,
    recording,
)

# -- contexts --------------------------------------------------------------------------


def test_a_done_context_is_canceled_with_its_cause() -> None:
    why = ValueError("the client left")
    ctx = done_context(why)
    assert isinstance(ctx.err(), Canceled)
    assert ctx.cause() is why
    with pytest.raises(Canceled, match="context canceled") as caught:
        ctx.check()
    assert "test_aids.py" in caught.value.detail


def test_a_done_context_can_be_out_of_time() -> None:
    why = ValueError("slow")
    ctx = done_context(why, deadline_exceeded=True)
    assert isinstance(ctx.err(), DeadlineExceeded)
    assert ctx.cause() is why
    assert ctx.remaining() == 0.0


@pytest.mark.parametrize("looks", [0, 1, 2, 7])
def test_so_many_looks_find_that_it_lasts(looks: int) -> None:
    asks: list[Callable[[Context], object]]
    asks = [lambda ctx: ctx.done(), lambda ctx: ctx.err()]
    for ask in asks:
        with expiring_after(looks) as ctx:
            found = [ask(ctx) for _ in range(looks + 2)]
            assert [bool(one) for one in found] == [False] * looks + [True] * 2
            assert isinstance(ctx.err(), DeadlineExceeded)


def test_looks_at_what_is_derived_count_too() -> None:
    with expiring_after(3) as ctx:
        assert not ctx.done()
        with ctx.with_timeout(5.0) as one, one.with_cancel() as two:
            two.check()
            one.check()
            with pytest.raises(DeadlineExceeded) as caught:
                two.check()
    assert "expiring_after(3)" in caught.value.detail
    assert "test_aids.py" in caught.value.detail


def test_what_is_not_below_it_does_not_count() -> None:
    with expiring_after(1) as ctx, background().with_timeout(5.0) as other:
        for _ in range(5):
            other.check()
            ctx.without_cancel().check()
        ctx.remaining()
        assert not ctx.done()
        assert ctx.done()


def test_nothing_is_left_of_one_that_has_expired() -> None:
    with expiring_after(1) as ctx:
        other = background().with_timeout(3600.0)
        child = ctx.with_value(Key[int]("shop.cart"), 1).with_timeout(60.0)
        assert 50.0 < child.remaining() <= 60.0
        assert ctx.remaining() > 60.0
        assert not ctx.done()
        assert isinstance(child.err(), DeadlineExceeded)
        assert (ctx.remaining(), child.remaining()) == (0.0, 0.0)
        assert other.remaining() > 3000.0
        other.cancel()


def test_a_loop_that_polls_ends_at_the_item() -> None:
    seen: list[int] = []
    with expiring_after(7) as ctx, pytest.raises(DeadlineExceeded) as caught:
        seen.extend(ctx.poll(range(1000), every=100))
    assert len(seen) == 700
    assert "700" in caught.value.detail


def test_a_wait_looks_before_and_after() -> None:
    with VirtualClock() as clock, expiring_after(2) as ctx:
        ended: list[BaseException | None] = []

        def work() -> None:
            ctx.sleep(1.0)
            ended.append(ctx.err())

        thread = threading.Thread(target=work)
        thread.start()
        clock.advance(1.0)
        thread.join()
        assert isinstance(ended[0], DeadlineExceeded)


def test_a_task_that_waits_is_told() -> None:
    async def main() -> None:
        with expiring_after(1) as ctx:
            assert not ctx.done()  # the last that finds it alive
            with pytest.raises(DeadlineExceeded):
                async with Group(ctx) as group:
                    group.go(forever)

    async def forever(ctx: Context) -> None:
        await asyncio.Event().wait()

    asyncio.run(main())


@pytest.mark.usefixtures("switching")
def test_looks_of_many_threads_are_counted_once_each() -> None:
    with expiring_after(100) as ctx:
        alive: list[int] = []

        def look() -> None:
            for _ in range(50):
                if ctx.err() is None:
                    alive.append(1)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # Those that are at a look when the last is counted find it alive as well.
    assert 100 <= len(alive) <= 103


def test_the_clock_is_as_it_was() -> None:
    from tether import _clock

    before = _clock.now
    with pytest.raises(KeyError), expiring_after(3) as ctx:
        raise KeyError
    assert _clock.now is before
    assert isinstance(ctx.err(), Canceled)


@pytest.mark.parametrize(
    ("looks", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_wrong_number_of_looks_is_refused(looks: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="looks is"), expiring_after(looks):
        pass


# -- recorded clients ------------------------------------------------------------------


class Users:
    table = "users"

    def find(self, ctx: Context, uid: int) -> int:
        ctx.check()
        return uid

    async def fetch(self, ctx: Context, uid: int = 0) -> int:
        await ctx.sleep_async(1.0)
        return uid

    def count(self) -> int:
        return 3


def test_calls_are_recorded_with_what_was_left() -> None:
    users, calls = recording(Users())
    with VirtualClock() as clock, background().with_timeout(5.0) as ctx:
        clock.advance(2.0)
        assert users.find(ctx, 7) == 7
        assert users.count() == 3
    find, count = calls
    assert (find.name, find.args, find.kwargs) == ("find", (7,), {})
    assert (find.ctx, find.left, find.error, find.is_over) == (ctx, 3.0, None, True)
    assert (count.name, count.left) == ("count", 3.0)  # the current context


def test_a_call_that_raises_says_what() -> None:
    users, calls = recording(Users())
    with pytest.raises(Canceled) as caught:
        users.find(done_context(), 7)
    assert calls[0].error is caught.value


def test_a_coroutine_is_over_when_it_has_been_awaited() -> None:
    async def main() -> None:
        users, calls = recording(Users())
        with background().with_cancel() as ctx:
            coroutine = users.fetch(ctx=ctx, uid=7)
            assert (calls[0].is_over, calls[0].kwargs) == (False, {"uid": 7})
            asyncio.get_running_loop().call_soon(ctx.cancel)
            with pytest.raises(asyncio.CancelledError):
                await coroutine
        assert calls[0].is_over
        assert isinstance(calls[0].error, asyncio.CancelledError)

    with contextlib.suppress(ContextError):
        asyncio.run(main())


def test_it_stands_for_the_client() -> None:
    mine = Users()
    users, calls = recording(mine)
    assert isinstance(users, Users)
    assert users.table == "users"
    users.table = "people"
    assert mine.table == "people"
    with pytest.raises(AttributeError, match="Users"):
        getattr(users, "miss" + "ing")
    assert calls == []


def test_one_function_is_recorded() -> None:
    def charge(ctx: Context, cents: int) -> int:
        return cents

    charging, calls = recording(charge)
    assert charging(background(), 5) == 5
    assert (calls[0].name, calls[0].args) == ("charge", (5,))


# -- proxies ---------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(100):
                client.sendall(data)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=[client]))
            threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=30)


@pytest.mark.tether_leaks
def test_a_proxy_hands_on_all_that_comes(
    echo: tuple[str, int], tether_proxy: Proxies
) -> None:
    proxy = tether_proxy(*echo)
    with connect(proxy) as client, connect(proxy) as other:
        data = bytes(range(256)) * 1000
        sender = threading.Thread(target=client.sendall, args=[data])
        sender.start()
        got = b""
        while len(got) < len(data):
            got += client.recv(65536)
        sender.join()
        assert got == data
        other.sendall(b"?")
        assert other.recv(1) == b"?"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert proxy.accepted == 2


def test_each_way_takes_longer(echo: tuple[str, int]) -> None:
    with Proxy(*echo, latency=0.1) as proxy, connect(proxy) as client:
        client.settimeout(0.15)
        client.sendall(b"?")
        with pytest.raises(TimeoutError):
            client.recv(1)  # 0.2 seconds
        client.settimeout(30)
        assert client.recv(1) == b"?"


def test_a_connection_is_reset_after_so_many_bytes(
    echo: tuple[str, int], tether_proxy: Proxies
) -> None:
    with connect(tether_proxy(*echo, fail="reset", after=3)) as client:
        client.sendall(b"12")
        assert client.recv(10) == b"12"
        client.sendall(b"345")
        with pytest.raises(ConnectionResetError):
            while client.recv(10):
                pass


def test_a_half_closed_connection_can_still_be_written(
    echo: tuple[str, int], tether_proxy: Proxies
) -> None:
    with connect(tether_proxy(*echo, fail="half-close", after=2)) as client:
        client.sendall(b"1234")
        got = b""
        while data := client.recv(10):
            got += data
        assert got == b"12"
        client.sendall(b"5" * 100_000)
        client.sendall(b"6" * 100_000)


def test_connections_stall_when_they_are_told(
    echo: tuple[str, int], tether_proxy: Proxies
) -> None:
    proxy = tether_proxy(*echo)
    with connect(proxy) as client:
        client.sendall(b"1")
        assert client.recv(1) == b"1"
        proxy.fail_now("stall")
        client.sendall(b"2")
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        with connect(proxy) as fresh:  # is not stalled
            fresh.sendall(b"3")
            assert fresh.recv(1) == b"3"
        proxy.fail_now("reset")
        client.settimeout(30)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_proxy_that_cannot_begin_says_why(
    echo: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start_server(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "start_server", start_server)
    with pytest.raises(OSError, match="Too many open files"):
        with Proxy(*echo):
            pytest.fail("it has not begun")


def test_a_proxy_that_another_thread_leaves_meanwhile_holds_up_nobody(
    echo: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def lost(_: object) -> None:
        asked.set()  # and its loop will not come to it

    with Proxy(*echo) as proxy:
        with monkeypatch.context() as patch:
            patch.setattr(proxy, "_call", lost)
            fails = threading.Thread(target=proxy.fail_now, args=("reset",))
            fails.start()
            assert asked.wait(30)
    fails.join(30)
    assert not fails.is_alive()


def test_nobody_upstream_is_the_end_of_the_connection(tether_proxy: Proxies) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    with connect(tether_proxy(*address)) as client:
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


def test_wrong_words_are_refused() -> None:
    wrong: Any = "explode"
    with pytest.raises(ValueError, match='fail is "reset"'):
        Proxy("127.0.0.1", 1, fail=wrong)
    with pytest.raises(ValueError, match="after"):
        Proxy("127.0.0.1", 1, after=-1)
    with pytest.raises(TypeError, match="latency"):
        Proxy("127.0.0.1", 1, latency="slow")  # type: ignore[arg-type]


def test_a_proxy_outside_of_its_block_says_so() -> None:
    proxy = Proxy("127.0.0.1", 1)
    with pytest.raises(RuntimeError, match="inside its with block"):
        proxy.fail_now("reset")
    with proxy:
        pass
    with pytest.raises(RuntimeError, match="inside its with block"):
        proxy.fail_now("reset")
