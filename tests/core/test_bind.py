"""ctx.bind: a function that carries its context wherever it is called."""

from __future__ import annotations

import contextvars
import functools
import inspect
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.core.support import LONG, Own, Wrapper
from tether import Canceled, Context, Key, background, current

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")
USER: Key[str] = Key("user")


@pytest.mark.parametrize("make", [lambda ctx: ctx, Wrapper], ids=["ours", "user"])
def test_the_context_is_current_where_it_is_called(
    make: Callable[[Context], Context],
) -> None:
    with background().with_timeout(LONG) as scope, ThreadPoolExecutor(1) as pool:
        ctx = make(scope.with_value(USER, "ann"))
        assert pool.submit(ctx.bind(current)).result(LONG) is ctx
        assert pool.submit(current).result(LONG) is background()


def test_the_parameters_are_those_of_the_function() -> None:
    def join(a: str, *more: str, sep: str = "-") -> str:
        return sep.join((a, *more))

    bound = background().bind(join)
    assert bound("a", "b") == "a-b"
    assert bound("a", "b", sep="+") == "a+b"
    assert bound.__name__ == "join"
    assert inspect.signature(bound) == inspect.signature(join)
    assert "join" in repr(bound)
    with pytest.raises(TypeError, match="missing"):
        bound()  # type: ignore[call-arg]


def test_the_other_variables_come_along_as_they_were_when_it_was_bound() -> None:
    NAME.set("bound")
    bound = background().bind(NAME.get)
    NAME.set("later")
    assert bound() == "bound"
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(bound).result(LONG) == "bound"


def test_calls_at_the_same_time_have_variables_of_their_own() -> None:
    meeting = threading.Barrier(3)

    def body(name: str) -> str:
        NAME.set(name)
        meeting.wait(LONG)
        return NAME.get()

    with background().with_cancel() as ctx, ThreadPoolExecutor(3) as pool:
        bound = ctx.bind(body)
        assert sorted(pool.map(bound, "abc")) == ["a", "b", "c"]


def test_it_may_call_itself_and_change_nothing_around_it() -> None:
    with background().with_cancel() as outer, background().with_cancel() as ctx:
        depths: list[Context] = []

        def body(depth: int) -> None:
            depths.append(current())
            NAME.set("inside")
            if depth:
                bound(depth - 1)

        bound = ctx.bind(body)
        with outer.with_cancel() as here:
            NAME.set("outside")
            bound(2)
            assert current() is here
            assert NAME.get() == "outside"
        assert depths == [ctx] * 3


def test_errors_go_through() -> None:
    with pytest.raises(StopIteration):
        background().bind(next)(iter(()))


def test_a_context_that_is_over_is_carried_like_any_other() -> None:
    ctx = background().with_cancel()
    bound = ctx.bind(lambda: current().check())
    ctx.cancel()
    with pytest.raises(Canceled):
        bound()
    own = Own()
    own.end(KeyError("ended"))
    with pytest.raises(KeyError):
        own.bind(lambda: current().check())()


def test_a_block_inside_it_works_in_its_thread() -> None:
    def body() -> bool:
        with current().with_timeout(LONG) as inner:
            return current() is inner and not inner.wait(0.0)

    with background().with_cancel() as ctx, ThreadPoolExecutor(1) as pool:
        assert pool.submit(ctx.bind(body)).result(LONG)


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (None, "takes a function to call"),
        (7, "takes a function to call"),
        (coroutine, "is a coroutine function"),
        (functools.partial(coroutine), "is a coroutine function"),
    ],
)
def test_wrong_arguments_are_refused(fn: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        background().bind(fn)


def test_it_cannot_go_to_another_process_and_says_what_can() -> None:
    with pytest.raises(TypeError, match="belongs to its process; hand the other"):
        pickle.dumps(background().bind(print))
