"""Roots beside the context of the test."""
from tether import Context, background


def test_total(ctx: Context) -> None:
    assert total(background()) == 3  # error: CTX803


# Right:


def test_own() -> None:
    assert total(background()) == 3


def test_clean_up(ctx: Context) -> None:
    try:
        assert total(ctx) == 3
    finally:
        tidy(background())


def helper(ctx: Context) -> None:
    total(background())
