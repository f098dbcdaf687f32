"""Hears of sockets whose other end was closed.

epoll tells of that, also with bytes unread and under TLS, where reading ahead is
refused; on macOS and BSD kqueue does. Where gevent has taken both away, `poll` can be
asked.

The number of a descriptor goes to the next connection at once. So who watches one
forgets it before it is closed, and who hears of one looks, under the lock that all
changes take, whether it still is that of the same connection. Under the lock nothing is
called but the kernel. It is re-entrant: a collection may close a response at any point.
"""

from __future__ import annotations

import os
import select
import sys
from _thread import start_new_thread
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Protocol, final

lock = RLock()


class Owner(Protocol):
    """Who has a socket."""

    def hang_up(self) -> None:
        """Its other end was closed.

        Called at most once, in a thread of ours and without the lock. It must not
        raise or wait.
        """


if sys.platform == "linux":
    # ONESHOT: news that are not fetched, as those of a socket that a forked child keeps
    # open, must not come again and again.
    HANG_UP = (
        select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLONESHOT
    )

    @final
    class Sockets:
        """What is watched, and the thread that waits for news of it."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._owners: dict[int, Owner] = {}
            start_new_thread(self._serve, ())

        def add(self, owner: Owner, fd: int) -> None:
            try:
                self._epoll.register(fd, HANG_UP)
            except FileExistsError:  # left by a response that was dropped
                self._epoll.modify(fd, HANG_UP)
            self._owners[fd] = owner

        def remove(self, owner: Owner, fd: int) -> None:
            if self._owners.get(fd) is owner:
                del self._owners[fd]
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    pass  # closed before

        def _serve(self) -> None:
            while True:
                for fd, _ in self._epoll.poll():
                    with lock:
                        owner = self._owners.get(fd)
                        # The news may be of the connection that had the number before.
                        if owner is None or not is_closed(fd)():
                            continue
                        self.remove(owner, fd)
                    owner.hang_up()
                    del owner  # or it would be kept until the next

elif sys.platform != "win32":

    @final
    class Sockets:
        """What is watched, and the thread that waits for news of it."""

        def __init__(self) -> None:
            self._queue = select.kqueue()
            self._owners: dict[int, Owner] = {}
            start_new_thread(self._serve, ())

        def add(self, owner: Owner, fd: int) -> None:
            # The end is told of with what can be read, not alone. CLEAR, so that bytes
            # that nobody reads are told of once.
            self._change(fd, select.KQ_EV_ADD | select.KQ_EV_CLEAR, id(owner))
            self._owners[fd] = owner

        def remove(self, owner: Owner, fd: int) -> None:
            if self._owners.get(fd) is owner:
                del self._owners[fd]
                try:
                    self._change(fd, select.KQ_EV_DELETE, 0)
                except OSError:
                    pass  # closed before

        def _change(self, fd: int, flags: int, mark: int) -> None:
            event = select.kevent(fd, select.KQ_FILTER_READ, flags, udata=mark)
            self._queue.control([event], 0)

        def _serve(self) -> None:
            while True:
                for event in self._queue.control(None, 64):
                    if not event.flags & select.KQ_EV_EOF:
                        continue
                    with lock:
                        owner = self._owners.get(event.ident)
                        # Else it is of the connection that had the number before.
                        if owner is None or id(owner) != event.udata:
                            continue
                        self.remove(owner, event.ident)
                    owner.hang_up()
                    del owner  # or it would be kept until the next


_sockets: Sockets | None = None


def watch(owner: Owner, fd: int) -> Callable[[], object] | None:
    """Tell the owner when the other end is closed; the answer is None then.

    Else it is a function to ask. Raises OSError, or RuntimeError when there can be no
    thread.
    """
    global _sockets
    if not (hasattr(select, "epoll") or hasattr(select, "kqueue")):
        return is_closed(fd)
    if _sockets is None:
        _sockets = Sockets()
    _sockets.add(owner, fd)
    return None


def forget(owner: Owner, fd: int) -> None:
    """Watch it no longer. What is not watched is no error."""
    if _sockets is not None:
        _sockets.remove(owner, fd)


def is_closed(fd: int) -> Callable[[], object]:
    """A function that tells, at once, whether the other end is closed."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("select"):
        poll = monkey.get_original("select", "poll")()
    else:
        poll = select.poll()
    # Without RDHUP, which is Linux's, a client that closes only its sending side stays.
    poll.register(fd, getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR)
    return partial(poll.poll, 0)


def _forked() -> None:
    """In a child: the thread is not there, and epoll is shared with the parent."""
    global lock, _sockets
    lock = RLock()
    _sockets = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
