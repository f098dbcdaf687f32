"""tether.ext.redis in threads, against a real server."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis._parsers import _HiredisParser, _RESP2Parser, _RESP3Parser
from redis.backoff import ConstantBackoff, NoBackoff
from redis.retry import Retry

from tests.ext.redis_proxy import Proxy
from tests.ext.redis_server import Server
from tests.ext.upstream import Authority, deaf
from tether import Canceled, Context, DeadlineExceeded, background, current
from tether.ext.redis import call, follow

PATIENCE = 60.0
AMPLE = 10.0  # for CLIENT UNBLOCK, on a busy machine
SOON = 20.0  # far less than what would be waited for otherwise
LONG = 600

HELPERS: list[threading.Thread] = []
LARGE = b"x" * 20_000_000  # more than sockets hold

Client = redis.Redis


def client_of(server: Server, **options: Any) -> Client:
    return follow(redis.Redis(unix_socket_path=server.path, **options), grace=AMPLE)


@pytest.fixture
def plain(redis_server: Server) -> Iterator[Client]:
    """A client without any of ours; the server is empty."""
    with redis.Redis(unix_socket_path=redis_server.path) as client:
        client.flushall()
        yield client
        while HELPERS:
            HELPERS.pop().join(PATIENCE)


PARSERS: dict[str, Any] = {
    "unix": {"protocol": 3, "parser_class": _HiredisParser},
    "tcp": {"protocol": 3, "parser_class": _RESP3Parser},
    "resp2": {"protocol": 2, "parser_class": _RESP2Parser},
}


@pytest.fixture(params=PARSERS)
def client(
    request: pytest.FixtureRequest, redis_server: Server, plain: Client
) -> Iterator[Client]:
    options: dict[str, Any] = {"port": redis_server.port}
    if request.param != "tcp":
        options = {
            "connection_class": redis.UnixDomainSocketConnection,
            "path": redis_server.path,
        }
    pool = redis.ConnectionPool(**PARSERS[request.param], **options)
    with follow(redis.Redis.from_pool(pool), grace=AMPLE) as client:
        yield client


@pytest.fixture
def one(redis_server: Server, plain: Client) -> Iterator[Client]:
    """A client with one connection, for which others wait."""
    pool = redis.BlockingConnectionPool(
        connection_class=redis.UnixDomainSocketConnection,
        path=redis_server.path,
        max_connections=1,
        timeout=LONG,
    )
    with follow(redis.Redis(connection_pool=pool), grace=AMPLE) as client:
        yield client


def until(what: Callable[[], object]) -> None:
    """Wait for something that is about to happen."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)


def blocked(plain: Client) -> int:
    info: Any = plain.info("clients")
    return int(info["blocked_clients"])


def calls(plain: Client, command: str) -> int:
    """How often the server has run a command."""
    stats: Any = plain.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def popped(client: Client, name: str) -> bytes:
    """What BLPOP gives, which comes as a list or as a tuple."""
    answer: Any = client.blpop(name, timeout=LONG)
    assert answer[0] == name.encode()
    item: bytes = answer[1]
    return item


def when_blocked(plain: Client, do: Callable[[], object]) -> None:
    """Do something when a command waits in the server."""

    def act() -> None:
        until(lambda: blocked(plain))
        do()

    HELPERS.append(threading.Thread(target=act, daemon=True))
    HELPERS[-1].start()


class Took:
    """A block that takes far less time than it would without an end."""

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self._began < SOON


# -- results -------------------------------------------------------------------------


def test_results_and_errors_pass(client: Client) -> None:
    with background().with_timeout(PATIENCE):
        assert client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.rpush("list", "a", "b") == 2
        assert popped(client, "list") == b"a"
        assert client.blpop("none", timeout=0.01) is None
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.blpop("key", timeout=LONG)
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.lpush("key", 1)
        with client.pipeline() as pipe:
            pipe.set("x", 1)
            pipe.incr("x")
            assert execute(pipe) == [True, 2]


def test_without_a_context_it_is_as_before(client: Client, plain: Client) -> None:
    when_blocked(plain, lambda: plain.rpush("list", "a"))
    assert popped(client, "list") == b"a"


def test_redis_pys_own_timeouts_hold(redis_server: Server) -> None:
    with client_of(redis_server, socket_timeout=0.05, retry=Retry(NoBackoff(), 0)) as c:
        with background().with_timeout(PATIENCE):
            with pytest.raises(redis.TimeoutError), Took():
                c.execute_command("BLPOP", "none", LONG)


def test_a_connection_that_is_lost_is_made_anew(client: Client, plain: Client) -> None:
    with background().with_timeout(PATIENCE):
        before: Any = client.client_id()
        plain.client_kill_filter(_id=str(before))
        assert client.client_id() != before


# -- what blocks in the server -------------------------------------------------------

BLOCKING: dict[str, Callable[[Client], object]] = {
    "blpop": lambda c: c.blpop("none", timeout=0),
    "brpop": lambda c: c.brpop(["none", "nor this"], timeout=LONG),
    "blmove": lambda c: c.blmove("none", "other", timeout=LONG),
    "brpoplpush": lambda c: c.brpoplpush("none", "other", timeout=LONG),
    "blmpop": lambda c: c.blmpop(LONG, 1, "none", direction="LEFT"),
    "bzpopmin": lambda c: c.bzpopmin("none", timeout=LONG),
    "bzpopmax": lambda c: c.bzpopmax("none", timeout=LONG),
    "bzmpop": lambda c: c.bzmpop(LONG, 1, ["none"], min=True),
    "xread": lambda c: c.xread({"none": "$"}, block=LONG * 1000),
    "wait": lambda c: c.wait(5, 0),
    "lower": lambda c: c.execute_command("blpop", "none", 0),
}


@pytest.mark.parametrize("how", BLOCKING)
def test_what_blocks_ends_with_a_cancel(
    client: Client, plain: Client, how: str
) -> None:
    before = client.client_id()
    why = KeyError("why")
    with background().with_cancel() as ctx, Took():
        when_blocked(plain, lambda: ctx.cancel(why))
        with pytest.raises(Canceled) as caught:
            BLOCKING[how](client)
    assert blocked(plain) == 0
    assert client.client_id() == before  # healthy
    assert isinstance(caught.value.__cause__, redis.ResponseError)
    assert caught.value.__cause__.__cause__ is why
    assert caught.value.ctx is ctx


def test_what_blocks_ends_with_the_deadline(client: Client, plain: Client) -> None:
    before = client.client_id()
    with Took(), pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.2):
            client.blpop("none", timeout=LONG)
    assert blocked(plain) == 0
    assert client.client_id() == before


def test_a_group_of_readers_ends_with_a_cancel(client: Client, plain: Client) -> None:
    plain.xgroup_create("stream", "group", mkstream=True)
    with background().with_cancel() as ctx:
        when_blocked(plain, ctx.cancel)
        with pytest.raises(Canceled), Took():
            client.xreadgroup("group", "me", {"stream": ">"}, block=LONG * 1000)
    assert blocked(plain) == 0


def test_it_is_not_issued_again(client: Client, plain: Client) -> None:
    """redis-py 8 tries again after a connection error, by default."""
    before = calls(plain, "blpop")
    with background().with_cancel() as ctx:
        when_blocked(plain, ctx.cancel)
        with pytest.raises(Canceled):
            client.blpop("none", timeout=LONG)
    client.ping()
    assert calls(plain, "blpop") == before + 1


@pytest.mark.stress
def test_no_item_is_popped_for_somebody_who_has_gone(
    client: Client, plain: Client
) -> None:
    rounds = 300
    got: list[bytes] = []
    gone = 0
    go = threading.Semaphore(0)

    def push() -> None:
        for number in range(rounds):
            go.acquire(timeout=PATIENCE)
            time.sleep(number % 20 * 0.0001)
            plain.rpush("list", number)

    pusher = threading.Thread(target=push)
    pusher.start()
    for _ in range(rounds):
        go.release()
        try:
            with background().with_timeout(0.001):
                got.append(popped(client, "list"))
        except DeadlineExceeded:
            gone += 1
    pusher.join(PATIENCE)
    left: Any = plain.lrange("list", 0, -1)
    assert sorted(map(int, [*got, *left])) == [*range(rounds)]
    assert gone > 0


def test_many_threads_end_together(redis_server: Server, plain: Client) -> None:
    ended: queue.Queue[BaseException] = queue.Queue()
    with client_of(redis_server) as client, background().with_cancel() as ctx:

        def wait() -> None:
            try:
                call(ctx, client.blpop, "none", LONG)
            except Canceled as exc:
                ended.put(exc)

        threads = [threading.Thread(target=wait) for _ in range(20)]
        for thread in threads:
            thread.start()
        until(lambda: blocked(plain) == 20)
        ctx.cancel()
        for thread in threads:
            thread.join(PATIENCE)
    assert ended.qsize() == 20
    assert blocked(plain) == 0


def test_who_may_not_unblock_loses_the_connection(
    redis_server: Server, plain: Client
) -> None:
    plain.acl_setuser(
        "poor",
        enabled=True,
        nopass=True,
        keys="*",
        commands=["+@all", "-client|unblock"],
    )
    with client_of(redis_server, username="poor", password="") as client:
        before = client.client_id()
        with background().with_cancel() as ctx:
            when_blocked(plain, ctx.cancel)
            with pytest.raises(Canceled), Took():
                client.blpop("none", timeout=LONG)
        assert client.client_id() != before
    until(lambda: blocked(plain) == 0)
    plain.acl_deluser("poor")


def test_over_tls_it_is_the_same(
    redis_server: Server, plain: Client, authority: Authority
) -> None:
    with Proxy(redis_server.port, tls=authority.server) as proxy:
        client = follow(
            redis.Redis(
                host="localhost", port=proxy.port, ssl=True, ssl_ca_certs=authority.file
            ),
            grace=AMPLE,
        )
        with client, background().with_timeout(PATIENCE) as outer:
            before = client.client_id()
            large = b"x" * 1_000_000
            assert client.set("key", large)
            assert client.get("key") == large
            with outer.with_cancel() as ctx:
                when_blocked(plain, ctx.cancel)
                with Took(), pytest.raises(Canceled) as caught:
                    client.blpop("none", timeout=LONG)
            assert isinstance(caught.value.__cause__, redis.ResponseError)
            assert client.client_id() == before
            proxy.mute()
            with Took(), pytest.raises(DeadlineExceeded):
                with outer.with_timeout(0.2):
                    client.get("key")
            assert client.get("key") == large


# -- other commands ------------------------------------------------------------------


def test_nothing_is_sent_when_it_is_over(client: Client, plain: Client) -> None:
    with background().with_cancel() as ctx:
        ctx.cancel()
        with pytest.raises(Canceled):
            client.set("key", 1)
        with pytest.raises(Canceled), client.pipeline() as pipe:
            pipe.set("key", 1)
            execute(pipe)
    assert plain.get("key") is None


class Hang:
    """Stops the server, and has it go on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@pytest.fixture
def hung(plain: Client) -> Iterator[Hang]:
    info: Any = plain.info("server")
    hung = Hang(info["process_id"])
    yield hung
    hung.go_on()


def execute(pipe: Any) -> Any:
    """Without the types, by which a pipeline answers as a client does."""
    return pipe.execute()


def pipeline(client: Client, *keys: str) -> Any:
    pipe = client.pipeline()
    for key in keys:
        pipe.get(key)
    return pipe


CALLS: dict[str, Callable[[Client], object]] = {
    "get": lambda c: c.get("key"),
    "blpop": lambda c: c.blpop("none", timeout=LONG),
    "pipeline": lambda c: pipeline(c, "key", "other").execute(),
    "watch": lambda c: c.pipeline().watch("key"),
    "scan": lambda c: [*c.scan_iter()],
    "large": lambda c: c.set("key", LARGE),
}


@pytest.mark.parametrize("how", CALLS)
def test_a_server_that_hangs_is_left(
    client: Client, plain: Client, hung: Hang, how: str
) -> None:
    follow(client, grace=0.1).ping()
    hung.stop()
    with Took(), pytest.raises(DeadlineExceeded) as caught:
        with background().with_timeout(0.2):
            CALLS[how](client)
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


def test_answers_are_never_crossed(redis_server: Server, plain: Client) -> None:
    plain.set("a", "a")
    plain.set("b", "b")
    canceled = 0
    with client_of(redis_server, max_connections=1) as client:
        for n in range(300):
            try:
                with background().with_timeout(n % 20 * 0.00002):
                    assert client.get("a") == b"a"
            except DeadlineExceeded:
                canceled += 1
            assert client.get("b") == b"b"
    assert canceled > 0


def test_an_answer_of_the_server_is_no_end(client: Client, plain: Client) -> None:
    """Though the context is over by the time somebody looks."""
    plain.set("key", "value")
    when_over: list[Context] = []

    class Slow(redis.Redis):
        def parse_response(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().parse_response(*args, **kwargs)
            finally:
                when_over.append(current())
                ctx.cancel()

    slow = Slow(connection_pool=client.connection_pool)
    with background().with_cancel() as ctx:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            slow.lpush("key", 1)
    with background().with_cancel() as ctx:
        assert slow.get("key") == b"value"
    assert len(when_over) == 2


# -- connecting, retries, the pool ---------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"ssl": True, "ssl_cert_reqs": "none"}])
def test_a_server_that_never_greets_is_left(options: Any) -> None:
    with Proxy(None) as silent:
        client = follow(redis.Redis(port=silent.port, socket_timeout=LONG, **options))
        with client, Took(), pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.2):
                client.get("key")


def test_a_server_that_takes_no_connection_is_left() -> None:
    with deaf() as port:
        client = follow(redis.Redis(port=port, socket_connect_timeout=LONG))
        with client, Took(), pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.2):
                client.get("key")


def test_a_pause_before_the_next_try_ends_at_once() -> None:
    with Proxy(None) as silent:
        port = silent.port
    pauses: queue.Queue[int] = queue.Queue()

    class Pauses(ConstantBackoff):
        def compute(self, failures: int) -> float:
            pauses.put(failures)
            return super().compute(failures)

    client = follow(redis.Redis(port=port, retry=Retry(Pauses(LONG), 5)))
    with client, background().with_cancel() as ctx:

        def cancel() -> None:
            pauses.get(timeout=PATIENCE)
            ctx.cancel()

        threading.Thread(target=cancel, daemon=True).start()
        with Took(), pytest.raises(Canceled) as caught:
            client.get("key")
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    assert "refused" in str(caught.value.__cause__)


def test_retries_go_on_while_the_context_lasts(
    redis_server: Server, plain: Client
) -> None:
    """And with the pauses that were asked for."""
    with Proxy(redis_server.port) as proxy:
        client = follow(
            redis.Redis(port=proxy.port, retry=Retry(ConstantBackoff(0.01), 5))
        )
        with client, background().with_timeout(PATIENCE):
            client.ping()
            proxy.cut()
            assert client.ping()
            assert proxy.count == 2


def test_a_retry_that_is_set_later_asks_too(client: Client) -> None:
    retry = Retry(NoBackoff(), 7)
    client.set_retry(retry)
    with Took(), pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.2):
            client.blpop("none", timeout=LONG)
    assert client.get_retry() == retry


@pytest.mark.parametrize("cancel", [True, False])
def test_the_wait_for_a_connection_counts(
    one: Client, plain: Client, *, cancel: bool
) -> None:
    threads: list[threading.Thread] = []
    taken = one.connection_pool.get_connection()
    try:
        with background().with_timeout(LONG if cancel else 0.2) as ctx:
            if cancel:
                threads.append(threading.Timer(0.2, ctx.cancel))
                threads[0].start()
            kind = Canceled if cancel else DeadlineExceeded
            with Took(), pytest.raises(kind) as caught:
                one.get("key")
        assert "No connection available" in str(caught.value.__cause__)
    finally:
        one.connection_pool.release(taken)
    assert one.get("key") is None
    for thread in threads:
        thread.join(PATIENCE)


def test_a_connection_that_comes_free_is_taken(one: Client) -> None:
    taken = one.connection_pool.get_connection()
    timer = threading.Timer(0.2, one.connection_pool.release, (taken,))
    timer.start()
    with background().with_timeout(PATIENCE):
        assert one.ping()
    timer.join(PATIENCE)


def test_the_pools_own_timeout_holds(redis_server: Server) -> None:
    pool = redis.BlockingConnectionPool(
        connection_class=redis.UnixDomainSocketConnection,
        path=redis_server.path,
        max_connections=1,
        timeout=0.05,
    )
    with follow(redis.Redis(connection_pool=pool)) as client:
        taken = pool.get_connection()
        with background().with_timeout(PATIENCE):
            with pytest.raises(redis.ConnectionError, match="No connection available"):
                client.get("key")
        pool.release(taken)


@pytest.mark.parametrize("how", CALLS)
def test_a_pool_of_one_never_runs_dry(one: Client, hung: Hang, how: str) -> None:
    """Whatever has ended, its connection is back in the pool."""
    follow(one, grace=0.1).ping()
    hung.stop()
    with background().with_timeout(0.02):
        with pytest.raises(DeadlineExceeded), one.pipeline() as pipe:
            if how == "watch":
                pipe.watch("key")
            else:
                CALLS[how](one)
    hung.go_on()
    with background().with_timeout(PATIENCE):
        assert one.ping()


# -- subscriptions -------------------------------------------------------------------

WAITS: dict[str, Callable[[Any], object]] = {
    "timeout": lambda p: p.get_message(timeout=LONG),
    "none": lambda p: p.get_message(timeout=None),
    "listen": lambda p: next(p.listen()),
}


@pytest.mark.parametrize("how", WAITS)
@pytest.mark.parametrize("cancel", [True, False])
def test_a_subscription_outlives_its_reader(
    client: Client, plain: Client, how: str, *, cancel: bool
) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as messages:
        messages.subscribe("news")
        assert messages.get_message(timeout=PATIENCE) is None
        timers = []
        with Took(), pytest.raises(Canceled if cancel else DeadlineExceeded) as caught:
            with background().with_timeout(LONG if cancel else 0.2) as ctx:
                if cancel:
                    timers.append(threading.Timer(0.2, ctx.cancel))
                    timers[0].start()
                WAITS[how](messages)
        assert isinstance(caught.value.__cause__, redis.ConnectionError)
        assert plain.publish("news", "first") == 1
        with background().with_timeout(PATIENCE):
            got: Any = WAITS[how](messages)
            assert got["data"] == b"first"
        for timer in timers:
            timer.join(PATIENCE)


def test_messages_without_end_do_not_hide_the_end(
    client: Client, plain: Client
) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as messages:
        messages.subscribe("news")
        messages.get_message(timeout=PATIENCE)
        for number in range(100):
            plain.publish("news", number)
        got = 0
        with pytest.raises(Canceled):
            with background().with_cancel() as ctx:
                for _ in messages.listen():
                    got += 1
                    if got == 5:
                        ctx.cancel()
        assert got == 5
        got_next: Any = messages.get_message(timeout=PATIENCE)
        assert got_next["data"] == b"5"


def test_asking_for_what_is_there_ends_too(client: Client) -> None:
    """A loop of get_message() without a timeout would spin for ever."""
    with client.pubsub() as messages:
        messages.subscribe("news")
        with background().with_cancel() as ctx:
            while messages.get_message() is None:
                pass
            ctx.cancel()
            with pytest.raises(Canceled):
                messages.get_message()


def test_a_thread_of_a_subscription_is_nobodys(client: Client, plain: Client) -> None:
    got: queue.Queue[Any] = queue.Queue()
    with background().with_cancel() as ctx:
        messages = client.pubsub(ignore_subscribe_messages=True)
        messages.subscribe(news=got.put)
        thread = messages.run_in_thread(sleep_time=0.01)
        ctx.cancel()
    plain.publish("news", "first")
    assert got.get(timeout=PATIENCE)["data"] == b"first"
    thread.stop()
    thread.join(PATIENCE)


# -- locks ---------------------------------------------------------------------------


@pytest.mark.parametrize("cancel", [True, False])
def test_the_wait_for_a_lock_ends(
    client: Client, plain: Client, *, cancel: bool
) -> None:
    plain.set("lock", "somebody's")
    timers = []
    with Took(), pytest.raises(Canceled if cancel else DeadlineExceeded):
        with background().with_timeout(LONG if cancel else 0.2) as ctx:
            if cancel:
                timers.append(threading.Timer(0.2, ctx.cancel))
                timers[0].start()
            client.lock("lock", sleep=LONG).acquire()
    assert plain.get("lock") == b"somebody's"
    for timer in timers:
        timer.join(PATIENCE)


def test_a_lock_is_released_by_who_is_over(client: Client, plain: Client) -> None:
    with pytest.raises(Canceled):
        with background().with_cancel() as ctx, client.lock("lock"):
            assert plain.exists("lock")
            ctx.cancel()
            ctx.check()
    assert not plain.exists("lock")


def test_a_lock_that_nobody_heard_of_is_released(
    redis_server: Server, plain: Client
) -> None:
    """The server has given it, and the answer has not come."""
    with Proxy(redis_server.port) as proxy:
        client = follow(redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)))
        with client, background().with_cancel() as ctx:
            client.ping()
            proxy.mute()

            def cancel() -> None:
                proxy.withheld.acquire(timeout=PATIENCE)
                assert plain.exists("lock")
                ctx.cancel()

            thread = threading.Thread(target=cancel, daemon=True)
            thread.start()
            with Took(), pytest.raises(Canceled):
                client.lock("lock").acquire()
            thread.join(PATIENCE)
        assert not plain.exists("lock")


def test_locks_do_as_they_do_elsewhere(client: Client, plain: Client) -> None:
    lock = client.lock("lock", timeout=LONG, blocking_timeout=0.02, sleep=0.01)
    with background().with_timeout(PATIENCE):
        with lock:
            assert lock.owned()
            assert not client.lock("lock").acquire(blocking=False)
            assert not client.lock("lock", sleep=0.01).acquire(blocking_timeout=0.02)
            assert lock.extend(5)
            assert lock.reacquire()
        assert not lock.locked()
        assert client.lock("lock").acquire(token="mine")
        assert plain.get("lock") == b"mine"
        with pytest.raises(redis.exceptions.LockError):
            lock.release()


# -- the context first ---------------------------------------------------------------


def test_a_context_may_be_given(client: Client, plain: Client) -> None:
    ctx = background().with_timeout(PATIENCE)
    assert call(ctx, client.set, "key", "value") is True
    value: bytes | str | None = call(ctx, client.get, "key")
    assert value == b"value"
    assert call(ctx, pipeline(client, "key").execute) == [b"value"]
    when_blocked(plain, ctx.cancel)
    with pytest.raises(Canceled) as caught:
        call(ctx, client.blpop, "none", timeout=LONG)
    assert caught.value.ctx is ctx
    with pytest.raises(Canceled):
        call(ctx, client.set, "key", "other")
    assert plain.get("key") == b"value"


def test_a_client_that_knows_no_contexts_is_refused(
    client: Client, plain: Client
) -> None:
    ctx = background()
    methods: list[Any] = [
        plain.get,
        plain.pipeline().execute,
        plain.pubsub().get_message,
        plain.lock("lock").acquire,
        plain.register_script("return 1"),
    ]
    for method in methods:
        with pytest.raises(TypeError, match="follow"):
            call(ctx, method)
    assert call(ctx, client.register_script("return 1")) == 1
    assert call(ctx, lambda: 7) == 7


@pytest.mark.parametrize("ctx", [None, 1.0, "ctx"])
def test_a_context_is_wanted(client: Client, ctx: Any) -> None:
    with pytest.raises(TypeError, match="call takes a context"):
        call(ctx, client.get, "key")


@pytest.mark.parametrize("what", [None, "redis://", redis.Redis, object()])
def test_follow_wants_a_client(what: Any) -> None:
    with pytest.raises(TypeError, match="follow takes"):
        follow(what)


def test_follow_wants_a_grace(redis_server: Server) -> None:
    client = redis.Redis(unix_socket_path=redis_server.path)
    with pytest.raises(TypeError, match="grace"):
        follow(client, grace="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="grace"):
        follow(client, grace=float("nan"))


def test_follow_may_be_called_again(redis_server: Server, plain: Client) -> None:
    client = follow(client_of(redis_server), grace=5.0)
    with client, background().with_cancel() as ctx:
        connection = client.connection_pool.get_connection()
        kinds = [kind.__name__ for kind in type(connection).__mro__]
        client.connection_pool.release(connection)
        assert kinds.count("_Connection") == 1
        when_blocked(plain, ctx.cancel)
        with pytest.raises(Canceled):
            client.blpop("none", timeout=LONG)


def test_a_single_connection_is_followed_by_its_pool(redis_server: Server) -> None:
    pool = redis.ConnectionPool(
        connection_class=redis.UnixDomainSocketConnection, path=redis_server.path
    )
    with redis.Redis(connection_pool=pool, single_connection_client=True) as client:
        with pytest.raises(ValueError, match="follow its pool"):
            follow(client)
    follow(pool)
    with redis.Redis(connection_pool=pool, single_connection_client=True) as client:
        with Took(), pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.2):
                client.blpop("none", timeout=LONG)
        assert client.ping()


def test_on_a_loops_thread_it_refuses_to_block(client: Client) -> None:
    async def main() -> None:
        with background().with_timeout(PATIENCE) as ctx:
            with pytest.raises(RuntimeError, match=r"redis\.asyncio"):
                client.get("key")
            with pytest.raises(RuntimeError, match="call_async"):
                call(ctx, client.get, "key")
        client.get("key")  # without a context that can end it is nobody's affair

    asyncio.run(main())
