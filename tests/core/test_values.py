"""Values: found by the identity of their key, nearest first, through everything."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from tests.core.support import Own, Wrapper
from tether import Context, Key, background, todo

NAME: Key[str] = Key("name")
SAME: Key[str] = Key("name")
COUNT: Key[int | None] = Key("count")


def test_keys_of_one_name_do_not_collide() -> None:
    ctx = background().with_value(NAME, "a").with_value(SAME, "b")
    assert ctx.value(NAME) == "a"
    assert ctx.value(SAME) == "b"
    assert NAME != SAME
    assert len({NAME, SAME}) == 2
    assert repr(NAME) == "Key('name')"


def test_the_nearest_value_counts_and_the_outer_one_stays() -> None:
    outer = background().with_value(NAME, "outer")
    inner = outer.with_value(NAME, "inner")
    assert (outer.value(NAME), inner.value(NAME)) == ("outer", "inner")


def test_what_is_missing_is_the_default() -> None:
    assert background().value(NAME) is None
    assert todo().value(NAME, "no") == "no"
    ctx = background().with_value(COUNT, 1)
    assert ctx.value(NAME, "no") == "no"


def test_a_none_that_was_set_shadows_and_is_not_missing() -> None:
    ctx = background().with_value(COUNT, 1).with_value(COUNT, None)
    assert ctx.value(COUNT, 7) is None


def test_a_value_may_be_anything_even_what_cannot_be_compared_or_asked() -> None:
    class Hostile:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        def __bool__(self) -> bool:
            raise AssertionError

        def __repr__(self) -> str:
            raise AssertionError

    key: Key[Hostile] = Key("hostile")
    value = Hostile()
    with background().with_value(key, value).with_cancel() as ctx:
        assert ctx.value(key) is value
        assert "Hostile" in str(ctx)


def test_values_outlive_the_end_and_come_through_without_cancel() -> None:
    scope = background().with_value(NAME, "a").with_timeout(60.0)
    below = scope.with_value(COUNT, 1)
    scope.cancel()
    for ctx in (below, below.without_cancel(), below.with_cancel()):
        assert ctx.value(NAME) == "a"
        assert ctx.value(COUNT) == 1


def test_values_go_through_user_made_contexts() -> None:
    with background().with_value(NAME, "a").with_cancel() as scope:
        for middle in (Wrapper(scope), Own(scope), Wrapper(Own(Wrapper(scope)))):
            with middle.with_value(COUNT, 1).with_timeout(60.0) as ctx:
                assert ctx.value(NAME) == "a"
                assert ctx.value(COUNT) == 1
                assert ctx.value(SAME, "no") == "no"


def test_a_user_made_context_may_hide_and_answer_for_itself() -> None:
    class Mine(Own):
        def value(self, key: Key[Any], default: Any = None) -> Any:
            return "mine" if key is NAME else default

    outer = background().with_value(NAME, "a").with_value(COUNT, 1)
    with Mine(outer).with_cancel() as ctx:
        assert ctx.value(NAME) == "mine"
        assert ctx.value(COUNT, 7) == 7
        assert ctx.with_value(NAME, "nearer").value(NAME) == "nearer"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        ("", ""),
        (None, "<nil>"),
        (1, "int"),
        (b"secret", "bytes"),
        ({"password": "secret"}, "dict"),
        (ValueError("secret"), "ValueError"),
        (int, "type"),
        ("{0} %s", "{0} %s"),
    ],
)
def test_the_text_shows_strings_and_the_types_of_all_else(
    value: object, shown: str
) -> None:
    key: Key[object] = Key("key")
    ctx = background().with_value(key, value)
    assert str(ctx) == f"context.Background.WithValue(key, {shown})"


def test_a_context_with_a_value_ends_with_its_parent() -> None:
    scope = background().with_timeout(60.0)
    ctx: Context = scope.with_value(NAME, "a")
    assert ctx.deadline == scope.deadline
    assert not hasattr(ctx, "cancel")
    assert not hasattr(ctx, "__enter__")
    scope.cancel()
    assert ctx.done()


def test_values_are_let_go_with_their_contexts() -> None:
    class Big:
        pass

    key: Key[Big] = Key("big")
    big = Big()
    gone = weakref.ref(big)
    with background().with_cancel() as root:
        with root.with_value(key, big).with_cancel() as ctx:
            pass
        del big, ctx
        gc.collect()
        assert gone() is None
