"""What mypy accepts of groups and what it refuses. Checked with the rest, never run.

A line that ends in `type: ignore` is one that mypy must refuse: a needless one is an
error by itself.
"""

from __future__ import annotations

from functools import partial
from typing import TypeVar, assert_type

from tether import Context, Group, Handle, WaitGroup

T = TypeVar("T")


async def fetch(ctx: Context, service: str, uid: int = 0) -> bytes:
    return b""


def load(ctx: Context, path: str, *, binary: bool = False) -> list[str]:
    return []


async def nothing(ctx: Context) -> None: ...


def without(path: str) -> str:
    return path


class Repository:
    async def find(self, ctx: Context, uid: int) -> str:
        return ""

    def load(self, ctx: Context, uid: int) -> float:
        return 0.0


async def generic(ctx: Context, value: T) -> list[T]:
    return [value]


async def main(ctx: Context, repository: Repository) -> None:
    async with Group(ctx, limit=3) as group:
        assert_type(group, Group)
        assert_type(group.ctx, Context)
        assert_type(group.go(fetch, "users", 7), Handle[bytes])
        assert_type(group.go(fetch, "users", uid=7), Handle[bytes])
        assert_type(group.go(load, "path"), Handle[list[str]])
        assert_type(group.go(load, "path", binary=True), Handle[list[str]])
        assert_type(group.go(nothing), Handle[None])
        assert_type(group.go(repository.find, 7), Handle[str])
        assert_type(group.go(repository.load, 7), Handle[float])
        assert_type(group.go(lambda ctx: 7), Handle[int])
        assert_type(group.go(generic, 7), Handle[list[int]])
        assert_type(group.try_go(fetch, "users"), Handle[bytes] | None)
        assert_type(group.go(fetch, "users").result(), bytes)
        assert_type(await group.go(fetch, "users").wait_async(), bytes)
        assert_type(group.go(fetch, "users").error, BaseException | None)
        group.go(partial(fetch, service="users"))
        handles: list[Handle[object]] = [group.go(fetch, "users")]
        assert_type(handles[0].result(), object)

        group.go(fetch)  # type: ignore[call-overload]
        group.go(fetch, 7)  # type: ignore[call-overload]
        group.go(fetch, "users", "7")  # type: ignore[call-overload]
        group.go(fetch, "users", 7, 8)  # type: ignore[call-overload]
        group.go(fetch, "users", who=7)  # type: ignore[call-arg]
        group.go(fetch, ctx, "users")  # type: ignore[call-overload]
        group.go(load, 7)  # type: ignore[call-overload]
        group.go(without, "path")  # type: ignore[call-overload]
        group.go(fetch(ctx, "users"))  # type: ignore[call-overload]
        group.go(None)  # type: ignore[call-overload]
        group.go(repository.find, "7")  # type: ignore[call-overload]
        group.ctx.cancel()  # type: ignore[attr-defined]
    Group(7)  # type: ignore[arg-type]
    Group(ctx, limit=1.5)  # type: ignore[arg-type]

    async with WaitGroup(ctx, limit=256, timeout=10.0) as wait_group:
        assert_type(wait_group, WaitGroup)
        assert_type(wait_group.go(fetch, "users"), Handle[bytes])
        assert_type(wait_group.go_with(ctx, fetch, "users", 7), Handle[bytes])
        assert_type(wait_group.go_with(ctx, load, "path"), Handle[list[str]])
        assert_type(wait_group.try_go_with(ctx, load, "path"), Handle[list[str]] | None)
        assert_type(wait_group.outcomes, list[Handle[object]])
        assert_type(wait_group.results, list[object])
        assert_type(wait_group.errors, list[BaseException])
        assert_type(await wait_group.drain_async(ctx), list[str])

        wait_group.go_with(fetch, "users")  # type: ignore[call-overload]
        wait_group.go_with(ctx, fetch)  # type: ignore[call-overload]
        wait_group.go_with(ctx, fetch, 7)  # type: ignore[call-overload]
        wait_group.go_with(None, fetch, "users")  # type: ignore[call-overload]

    with Group(ctx) as threads:
        assert_type(threads.go(load, "path"), Handle[list[str]])
