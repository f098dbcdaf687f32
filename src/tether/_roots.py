"""background(), todo(), current(): where contexts come from."""

from __future__ import annotations

from ._clock import INF
from ._context import Context
from ._current import Pending
from ._current import var as _current
from ._scope import Scope, _Plain, _plain
from ._tree import ADOPTED, LEFT, RELEASED, ROOT, Node

_BACKGROUND = _plain(ROOT, None, None, INF, None)
_BACKGROUND._name = "context.Background"
_TODO = _plain(ROOT, None, None, INF, None)
_TODO._name = "context.TODO"


def background() -> Context:
    """The root: never over, without values. Where `main`, tests and servers begin."""
    return _BACKGROUND


def todo() -> Context:
    """The root for code that should be given a context and is not yet.

    It behaves like `background()`; the name is for the reader and the linter.
    """
    return _TODO


def current() -> Context:
    """The context of the innermost `with` block around this code.

    For edges whose signature is not yours: a web handler, a transport inside a client
    library, a log filter. Everywhere else pass `ctx`. It follows into tasks started
    inside the block, as context variables do. `background()` if there is none; if the
    block has been left meanwhile, its nearest ancestor that is still open.
    """
    ctx = _current.get()
    if ctx is None:
        return _BACKGROUND
    if isinstance(ctx, Pending):
        return ctx._tether_context()
    while isinstance(ctx, Node):
        scope: object = ctx
        while isinstance(scope, _Plain):
            scope = scope._parent
        if not isinstance(scope, Scope) or scope._state != LEFT:
            if isinstance(scope, Scope) and scope._state == RELEASED:
                ctx = ctx.without_cancel()
            break
        ctx = scope._parent or _BACKGROUND
    if isinstance(ctx, _Plain) and ctx._state == ADOPTED and ctx._parent is not None:
        return ctx._parent  # what stands for a user-made context is not handed out
    return ctx
