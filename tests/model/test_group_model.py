"""A group beside a model of it: places, the queue, the first error, whatever the order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from tether import Context, Group, Handle, background


class Boom(Exception):
    pass


@dataclass(eq=False)
class Piece:
    """A piece of work that ends when the model says so."""

    over: asyncio.Future[BaseException | None]
    handle: Handle[str] | None = None
    began: bool = False
    error: BaseException | None = None

    async def work(self, ctx: Context) -> str:
        self.began = True
        with background().without_cancel().with_cancel():  # ends by command alone
            error = await self.over
        if error is not None:
            raise error
        return "done"


class GroupMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.limit: int | None = None
        self.running: list[Piece] = []
        self.queue: list[Piece] = []
        self.ended: list[Piece] = []
        self.errors: list[BaseException] = []
        self.over = False
        self.loop = asyncio.new_event_loop()
        self.group = Group(background())

    def teardown(self) -> None:
        for _ in range(len(self.queue) + 1):
            for piece in [*self.running, *self.queue]:
                if not piece.over.done():
                    piece.over.set_result(None)
            self.settle()
        try:
            self.loop.run_until_complete(self.group.wait_async())
        except Boom as exc:
            assert exc is self.errors[0]
        self.loop.close()

    def settle(self) -> None:
        async def turns() -> None:
            for _ in range(8):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def full(self) -> bool:
        return self.limit is not None and len(self.running) >= self.limit

    def end(self, piece: Piece, error: BaseException | None) -> None:
        """The model's part of it."""
        self.running.remove(piece)
        self.ended.append(piece)
        piece.error = error
        if error is not None:
            self.errors.append(error)
            self.over = True
        if self.queue:
            self.running.append(self.queue.pop(0))

    # -- rules ---------------------------------------------------------------------

    @precondition(lambda self: self.limit != 0)
    @rule()
    def go(self) -> None:
        piece = Piece(self.loop.create_future())

        async def call() -> None:
            piece.handle = self.group.go(piece.work)

        self.loop.run_until_complete(call())
        (self.queue if self.full() else self.running).append(piece)

    @rule()
    def try_go(self) -> None:
        piece = Piece(self.loop.create_future())

        async def call() -> Handle[str] | None:
            return self.group.try_go(piece.work)

        piece.handle = self.loop.run_until_complete(call())
        assert (piece.handle is None) == self.full()
        if piece.handle is not None:
            self.running.append(piece)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100), fails=st.booleans())
    def finish(self, which: int, fails: bool) -> None:
        piece = self.running[which % len(self.running)]
        error = Boom(len(self.errors)) if fails else None
        piece.over.set_result(error)
        self.settle()
        self.end(piece, error)

    @rule(limit=st.integers(-1, 4))
    def set_limit(self, limit: int) -> None:
        async def call() -> None:
            self.group.set_limit(limit)

        try:
            self.loop.run_until_complete(call())
        except RuntimeError as exc:
            assert limit >= 0
            assert f"while {len(self.running)} goroutines" in str(exc)
            return
        assert limit < 0 or not self.running
        self.limit = None if limit < 0 else limit
        if limit < 0:
            self.running += self.queue
            self.queue.clear()

    @precondition(lambda self: not self.running)
    @rule()
    def wait(self) -> None:
        try:
            self.loop.run_until_complete(self.group.wait_async())
        except Boom as exc:
            assert exc is self.errors[0]
        else:
            assert not self.errors
        self.over = True

    # -- what must hold --------------------------------------------------------------

    @invariant()
    def as_in_the_model(self) -> None:
        self.settle()
        for piece in self.running:
            assert piece.began
            assert not self.handle(piece).done()
        for piece in self.queue:
            assert not piece.began
            assert "queued" in repr(piece.handle)
        for piece in self.ended:
            handle = self.handle(piece)
            assert handle.done()
            assert handle.error is piece.error
            assert piece.error is not None or handle.result() == "done"
        assert self.group.errors == self.errors
        assert self.group.ctx.done() == self.over
        if self.errors and self.group.ctx.cause() is not self.errors[0]:
            # Ended by a wait before there was any error.
            assert self.group.ctx.err() is not None

    @staticmethod
    def handle(piece: Piece) -> Handle[str]:
        assert piece.handle is not None
        return piece.handle


TestGroup = GroupMachine.TestCase
TestGroup.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
