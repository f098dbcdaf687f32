"""What a call takes along, and what its errors mean; for threads and tasks alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from tether import Context
from tether._calls import instead_of
from tether._clock import INF
from tether._errors import NOT_A_CONTEXT
from tether.wire import Outbound

from ._library import grpc

# The deadline has a header of its own in gRPC: only values and the trace are written.
OUTBOUND = Outbound(timeout=None)

# By how much gRPC's timer may be ahead of ours, in seconds.
SLACK = 0.02

Metadata = Iterable[tuple[str, str | bytes]]


@final
class Outgoing:
    """One call that is about to be made within `ctx`; raises if that is over.

    `timeout` is what the caller wants beside the context, None for nothing.
    """

    __slots__ = ("ctx", "limited", "metadata", "timeout")

    def __init__(
        self,
        ctx: Context,
        timeout: float | None,
        metadata: Metadata | None,
        outbound: Outbound = OUTBOUND,
    ) -> None:
        if not isinstance(ctx, Context):
            raise TypeError(NOT_A_CONTEXT.format(name="a call", value=ctx))
        ctx.check()
        self.ctx = ctx
        left = ctx.remaining()
        self.limited = left != INF and (timeout is None or left < timeout)
        self.timeout = left if self.limited else timeout
        given = [*(metadata or ())]
        headers: dict[str, str] = {}
        outbound.write(ctx, headers)
        names = {name for name, _ in given}
        self.metadata = [
            *given,
            *((n, v) for n, v in headers.items() if n not in names),
        ]

    def slack(self, exc: BaseException) -> float | None:
        """How long the context may yet take to end for the same reason as the call.

        None: the error says something else.
        """
        code = getattr(exc, "code", None)
        if code is None or code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        left = self.ctx.remaining()
        return max(0.0, left) if self.limited and left < SLACK else None

    def translate(self, exc: BaseException) -> None:
        """Raise the context's error from that of a call, if it is over."""
        instead_of(exc, self.ctx)
