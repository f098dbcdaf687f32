"""One request, between the application and the server.

It stands in the context variable in place of the request's scope until somebody asks
for that, which is when the scope is made (`open`): by `current()`, by the lookout, by
the client that leaves.

Who ends what

- Out of time, or the service stops: the scope interrupts the server's task, in which
  the application runs.
- The client leaves: the same, by a cancel.
- Some applications run the handler in a task of its own while another one listens
  (Quart, Django before 6). To interrupt the task that waits for the two would leave the
  handler behind. So as long as somebody waits in `receive()` in another task
  (`_elsewhere`) the scope is held, the listener is told that the client has left,
  and the application ends its handler in its way. If it has not after GRACE, it is
  interrupted after all.
- After the last message of the response nothing of ours interrupts any more.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from contextvars import Context as Variables
from typing import TYPE_CHECKING, final

from tether import ClientDisconnected, Context, DeadlineExceeded, Scope
from tether._behalf import begin, bind, hold, let_go, release, tells_of
from tether._current import Pending
from tether._loops import call_soon, running_loop, task_of
from tether._tree import GIL, lock
from tether.wire import Arrived

from ._inbox import Inbox
from ._types import (
    NAME,
    Connection,
    Message,
    Receive,
    Send,
    Task,
    expects_continue,
    label_of,
    named,
    tells_of_client,
)

if TYPE_CHECKING:
    from ._middleware import ContextMiddleware

# How long an application that has heard of the client by itself may take to end before
# it is interrupted.
GRACE = 0.1

_BODY = frozenset(
    ("http.response.body", "http.response.zerocopysend", "http.response.pathsend")
)
TOO_LATE = 504, b"The request took too long.\n"
STOPPED = 503, b"The service is stopping.\n"


@final
class Request(Pending):
    """What the application is given in place of the server's receive and send."""

    # Most requests change few of these.
    scope: Scope | None = None  # made when it is asked for
    started = False  # the response has begun
    gone = False  # the client left before the response was finished
    verdict: tuple[int, bytes] | None = None  # the scope's end has ended it
    _finished = False  # the last message of the response is on its way
    _out = False  # and has been taken by the server
    ended = False  # the application has returned
    mute = False  # what the application sends is not passed on any more
    _trailers = False
    _asked = False  # the application has begun to read
    _late = False  # no longer quick: to be listened to
    _hung_up = False  # the server has said that nothing more will come
    _direct = 0  # calls of the application that wait in the server's receive()
    _elsewhere = 0  # calls that wait in another task than the request's
    _watched = False  # the end of the scope will be told to _over
    _told = False  # the application, that the client has left, though it has not
    inbox: Inbox | None = None
    arrived: Arrived | None = None  # what the caller said, if anything

    # Set by the middleware, which saves the call of a constructor.
    since: float  # when it began
    seconds: float | None  # that it may take
    ident: str  # its id, the caller's or a new one
    middleware: ContextMiddleware
    task: Task
    connection: Connection
    server_receive: Receive
    server_send: Send
    variables: Variables  # without this request: for the listener
    among: set[Request]  # where the lookout has it

    # -- the context -----------------------------------------------------------

    def _tether_context(self) -> Context:
        if self._out:
            return self.open().without_cancel()  # for what goes on after the response
        return self.middleware.base if self.ended else self.open()

    def open(self, *, first: bool = True) -> Scope:
        """The request's scope; a block of its task from now on, if this is the loop.

        In another thread it is the lookout that will make it one.
        """
        scope = self.scope
        if scope is None:
            label = label_of(self.connection["method"], self.connection)
            arrived = self.arrived or Arrived(None, self.ident)
            base, site = arrived.onto(self.middleware.base), self.middleware.site
            scope = begin(base, self.since, self.seconds, label, site, arrived.cause)
            with lock:
                if self.scope is None:
                    self.scope = scope
            if self.scope is not scope:  # another thread was quicker
                scope.__exit__(None, None, None)
                scope = self.scope
            elif self.ended:
                scope.__exit__(None, None, None)
            elif self._out:
                release(scope)
        loop = self.task.get_loop()
        if scope._tether_stack is None and running_loop() is loop:
            bind(scope, loop, self.task, first=first)
            self._tether_stack = scope._tether_stack  # the shorter way for blocks in it
            if self._elsewhere:
                self._hold()
        return scope

    def _hold(self) -> None:
        """Have the application stopped by what it hears, not by an interruption."""
        scope = self.scope
        if scope is None or scope.done():
            return
        hold(scope)
        if not self._watched:
            self._watched = True
            loop = self.task.get_loop()
            scope.done_signal().add_callback(lambda: call_soon(loop, self._over))

    def _over(self) -> None:
        if self._elsewhere and not (self.ended or self.gone):
            self._told = True
            # A response that has begun may be completed by who believes that nobody
            # gets it (BaseHTTPMiddleware): cut off, it must not look whole.
            self.mute = self.started
            assert self.inbox is not None
            self.inbox.close()
            self.task.get_loop().call_later(GRACE, self._insist)

    def _insist(self) -> None:
        if not self.ended:
            if self.gone:
                self._cancel()
            let_go(self.open())

    # -- what the application calls --------------------------------------------

    async def receive(self) -> Message:
        """The next message, from the listener if there is one."""
        if self.ended:
            return {"type": "http.disconnect"}
        own = task_of(self.task.get_loop()) is self.task
        if self.inbox is None and not self._hung_up:
            if own or self._direct:
                return await self._receive_directly()
            self._asked = True
            self._listen()
        if self.inbox is None:
            return {"type": "http.disconnect"}
        if own:
            return await self.inbox.take()
        self._elsewhere += 1
        try:
            self._hold()
            return await self.inbox.take()
        finally:
            self._elsewhere -= 1
            if self.scope and not (self._elsewhere or self._told or self.gone):
                let_go(self.scope)

    async def _receive_directly(self) -> Message:
        self._asked = True
        self._direct += 1
        try:
            message = await self.server_receive()
            self._hear(message)
        finally:
            self._direct -= 1
            if self._late:
                self._listen()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on, and note how far the response is."""
        if self.mute:
            return _nothing()
        kind = message["type"]
        if kind in _BODY:
            if not (message.get("more_body") or self._trailers):
                return self._send_last(message)
        elif kind == "http.response.start":
            if message["status"] == 500:
                self._own_up()
            if "trailers" in message:
                self._trailers = bool(message["trailers"])
            self.started = True
            message = named(message, self.ident)
        elif kind == "http.response.trailers" and not message.get("more_trailers"):
            return self._send_last(message)
        return self.server_send(message)

    async def _send_last(self, message: Message) -> None:
        self._finished = True
        await self.server_send(message)
        self._out = True
        if self.scope is not None:
            release(self.scope)

    def _own_up(self) -> None:
        """Raise our end again where a framework takes it for a crash of the handler.

        It comes as an ordinary exception out of a thread. The framework answers 500
        while it handles that exception, and then raises it again, to be logged.
        """
        crash = sys.exc_info()[1]
        if crash is not None and self.scope and tells_of(crash, self.scope):
            raise crash

    # -- what the middleware calls ---------------------------------------------

    def end(self, exc: BaseException | None) -> bool:
        """The application has returned; whether `exc` is the server's affair."""
        self.ended = self.mute = True
        self.among.discard(self)
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None
        if not GIL:
            with lock:
                pass  # another thread that opens it sees _ended, or we what it made
        scope = self.scope
        if scope is None:
            return exc is not None
        if self.gone:
            self._cancel()
        error = scope.err()  # before the block is left, which would end it
        try:
            if exc is None:
                scope.__exit__(None, None, None)
            else:
                scope.__exit__(type(exc), exc, exc.__traceback__)
        except Exception:  # the scope's end, in place of the interruption
            exc = None
        if exc is not None and not tells_of(exc, scope):
            return not ((self.gone or self._told) and tells_of_client(exc))
        if not self.gone and (error is not None or exc is not None):
            late = isinstance(error, DeadlineExceeded) or has_run_out(exc)
            self.verdict = TOO_LATE if late else STOPPED
        return False

    async def answer(self) -> None:
        """Respond in place of the application, if it was ended before it did.

        If it had begun to, the server closes the connection.
        """
        if self.verdict is not None and not self.started:
            await respond(self.server_send, *self.verdict, self.ident)

    # -- listening -------------------------------------------------------------

    def is_late(self) -> None:
        """The request is not a quick one: it gets a context, and is listened to."""
        if not (self._out or self.ended):
            self._late = True
            self.open()
            self._listen()

    def _listen(self) -> None:
        if (
            self.inbox is None
            and not (self._direct or self._hung_up or self._finished or self.ended)
            # To ask the server for the body is to tell the client to send it.
            and (self._asked or self.started or not expects_continue(self.connection))
        ):
            loop = self.task.get_loop()
            self.inbox = Inbox(self.server_receive, self._hear, loop, self.variables)

    def _hear(self, message: Message) -> None:
        if message["type"] == "http.request":
            return
        self._hung_up = True
        if self._finished or self.ended:
            return
        self.gone = True
        if self._elsewhere:
            self.task.get_loop().call_later(GRACE, self._insist)
        else:
            self._cancel()

    def _cancel(self) -> None:
        self.open().cancel(ClientDisconnected())


def has_run_out(exc: BaseException | None) -> bool:
    """Whether an error that tells of the scope tells of its time."""
    if isinstance(exc, BaseExceptionGroup):
        return any(map(has_run_out, exc.exceptions))
    return isinstance(exc, DeadlineExceeded)


async def respond(send: Send, status: int, body: bytes, ident: str) -> None:
    """Send a whole response."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (NAME, ident.encode()),
    ]
    try:
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        await send({"type": "http.response.body", "body": body})
    except OSError:
        pass  # gone as well


async def _nothing() -> None:
    """Stand for a message that nobody gets."""
