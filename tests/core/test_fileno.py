"""fileno: a descriptor for select that becomes readable when the context ends."""

from __future__ import annotations

import gc
import os
import select
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tether import Context, Key, Scope, background
from tether.testing import VirtualClock

K: Key[int] = Key("k")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="select is for sockets there")


def readable(fd: int, seconds: float = 0.0) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


MAKE: dict[str, Callable[[Scope], Context]] = {
    "scope": lambda scope: scope,
    "child": lambda scope: scope.with_cancel(),
    "grandchild": lambda scope: scope.with_cancel().with_timeout(3600.0),
    "value": lambda scope: scope.with_value(K, 1),
    "wrapper": Wrapper,
    "below a wrapper": lambda scope: Wrapper(scope).with_cancel(),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_it_is_readable_once_the_context_is_canceled(
    make: Callable[[Scope], Context],
) -> None:
    scope = background().with_cancel()
    ctx = make(scope)
    fd = ctx.fileno()
    assert not readable(fd)
    scope.cancel()
    assert readable(fd)
    assert readable(fd)  # nobody reads it away
    assert ctx.fileno() == fd


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_it_is_readable_once_the_deadline_has_passed(
    make: Callable[[Scope], Context],
) -> None:
    with VirtualClock() as clock:
        ctx = make(background().with_timeout(5.0))
        fd = ctx.fileno()
        clock.advance(4.0)
        assert not readable(fd)
        clock.advance(1.0)
        assert readable(fd)


def test_it_is_readable_at_once_when_the_context_is_over() -> None:
    scope = background().with_cancel()
    scope.cancel()
    assert readable(scope.fileno())
    late = background().with_timeout(0.0)
    assert readable(late.fileno())


def test_it_is_readable_when_its_own_scope_ends_and_not_its_parents() -> None:
    with background().with_cancel() as parent:
        above = parent.fileno()
        with parent.with_cancel() as child:
            fd = child.fileno()
        assert readable(fd)
        assert not readable(above)


def test_select_wakes_up_for_a_cancel_from_another_thread() -> None:
    scope = background().with_timeout(60.0)
    fd = scope.fileno()
    waiting = start(readable, fd, LONG)
    scope.cancel()
    assert waiting.result(LONG)


def test_select_wakes_up_for_a_deadline() -> None:
    scope = background().with_timeout(0.005)
    assert readable(scope.fileno(), LONG)
    assert scope.done()


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_it_is_the_same_at_each_call(make: Callable[[Scope], Context]) -> None:
    with background().with_cancel() as scope:
        ctx = make(scope)
        assert ctx.fileno() == ctx.fileno()
        assert ctx.fileno() != background().with_timeout(0.0).fileno()


def test_a_user_made_context_has_one_that_follows_its_signal() -> None:
    for derive in (lambda own: own, lambda own: own.with_value(K, 1)):
        own = Own()
        ctx = derive(own)
        fd = ctx.fileno()
        gc.collect()
        assert is_open(fd)
        assert ctx.fileno() == fd
        assert not readable(fd)
        own.end(KeyError())
        assert readable(fd)


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_what_never_ends_is_never_readable_and_costs_no_descriptor_each() -> None:
    with background().with_cancel() as scope:
        fds = {
            ctx.with_value(K, number).fileno()
            for ctx in (background(), scope.without_cancel())
            for number in range(50)
        }
        scope.cancel()
        assert not any(readable(fd) for fd in fds)
    gc.collect()
    assert len([fd for fd in fds if is_open(fd)]) <= 2


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("state", ["live", "canceled", "parent canceled", "waited"])
@pytest.mark.parametrize("make", ["scope", "child", "value", "below a wrapper"])
def test_it_is_closed_when_the_context_is_collected(
    no_collector: None, make: str, state: str
) -> None:
    with background().with_cancel() as root:
        scope = root.with_timeout(60.0)
        ctx = MAKE[make](scope)
        fd = ctx.fileno()
        if state == "waited":
            assert ctx.wait(0.001) is False
            assert ctx.after_func(print)()
        elif state != "live":
            (scope if state == "canceled" else root).cancel()
        assert is_open(fd)
        del scope, ctx
        assert not is_open(fd)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("of", ["it", "a value below it"])
def test_it_is_closed_when_a_user_made_context_is_collected(
    of: str, ended: bool
) -> None:
    own = Own()
    ctx: Context = own if of == "it" else own.with_value(K, 1)
    fd = ctx.fileno()
    if ended:
        own.end(KeyError())
    del ctx, own
    gc.collect()
    assert not is_open(fd)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("of", ["scope", "child", "value", "own", "below own"])
def test_it_does_not_keep_alive_what_else_listens(of: str) -> None:
    """What hangs on the context refers to it; the descriptor must not lead there."""

    class Held:
        def call(self) -> None:
            raise AssertionError

    root: Context = Own() if "own" in of else background().with_cancel()
    ctx = root
    if of == "value":
        ctx = root.with_value(K, 1)
    elif of in ("child", "below own"):
        ctx = root.with_cancel()
    held = Held()
    gone = [weakref.ref(one) for one in (held, root, ctx)]
    fds = {root.fileno(), ctx.fileno()}
    ctx.after_func(held.call)
    ctx.done_signal().add_callback(held.call)
    del root, ctx, held
    gc.collect()
    assert [one() for one in gone] == [None] * 3
    assert not any(is_open(fd) for fd in fds)


def test_a_signal_that_many_contexts_share_keeps_nothing_of_them(
    no_collector: None,
) -> None:
    shared = Own()
    before = len(shared.signal._callbacks)
    for _ in range(3):
        wrapper = Wrapper(shared)
        fd = wrapper.fileno()
        assert len(shared.signal._callbacks) == before + 1
        del wrapper
        assert not is_open(fd)
    assert len(shared.signal._callbacks) == before


def test_the_number_of_one_that_was_closed_is_not_written_to_later() -> None:
    with VirtualClock() as clock:
        parent = background().with_timeout(5.0)
        child = parent.with_cancel()
        fd = child.fileno()
        child.cancel()
        del child
        assert not is_open(fd)
        read, write = os.pipe()
        try:
            clock.advance(5.0)
            assert parent.done()
            assert not readable(read)
        finally:
            os.close(read)
            os.close(write)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_end_in_a_forked_child_is_not_the_parents() -> None:
    scope = background().with_cancel()
    over = background().with_cancel()
    over.cancel()
    fd, over_fd = scope.fileno(), over.fileno()
    pid = os.fork()
    if pid == 0:
        try:
            fine = readable(over_fd) and not readable(fd)
            scope.cancel()
            os._exit(0 if fine and readable(fd) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert not readable(fd)
    scope.cancel()
    assert readable(fd)


def test_many_come_and_go() -> None:
    with background().with_timeout(60.0) as parent:
        for _ in range(5000):  # more than a process may have open
            with parent.with_cancel() as ctx:
                ctx.fileno()
            assert readable(ctx.fileno())
