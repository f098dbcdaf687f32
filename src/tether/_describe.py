"""What a context says about itself: its text, where it was made, whose end it is.

All of it is worked out when somebody asks. Nothing here recurses.
"""

from __future__ import annotations

from pathlib import PurePath
from types import CodeType
from typing import TYPE_CHECKING

from . import _clock
from ._clock import INF
from ._errors import (
    BLOCK_LEFT,
    BUDGET_RAN_OUT,
    CANCELED_AT,
    CAUSED_BY,
    DEADLINE_PASSED,
    LEFT_ABOVE,
    OF_ROOT,
    DeadlineExceeded,
)
from ._keys import ELSEWHERE, Key, Value
from ._tree import ADOPTED, DETACHED, NO_DEADLINE, ROOT, VALUE, Node

if TYPE_CHECKING:
    from ._context import Context

# The name of the work that a context belongs to, as "GET /users/{id}".
LABEL: Key[str] = Key("tether.label")


def own_label(node: Node) -> str:
    """Its label, for a finalizer: a user-made context above it is not asked."""
    link = node._values
    while link is not None and link.key is not ELSEWHERE:
        if link.key is LABEL:
            return str(link.value)
        link = link.next
    return ""


def site(node: Node) -> str:
    """Where the node was made: the last two parts of the path, and the line."""
    code = node._code
    return "an unknown place" if code is None else place(code, node._lasti)


def place(code: CodeType, lasti: int) -> str:
    """The line of an instruction: the last two parts of the path, and the number."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            line = number
            break
    return f"{'/'.join(PurePath(code.co_filename).parts[-2:])}:{line}"


def text(ctx: Context, plain: object) -> str:
    """Go's text of a context: how it came about, from the root on.

    A user-made one in it has the name of its type, if its `__str__` is the `plain` one.
    """
    parts: list[str] = []
    now = _clock.now()
    node: Context | Node | None = ctx
    while isinstance(node, Node):
        kind = node._state
        if kind == ROOT:
            parts.append(node._name)  # type: ignore[attr-defined]
        elif kind == DETACHED:
            parts.append(".WithoutCancel")
        elif kind == VALUE:
            parts.append(_value(node._values))
        elif kind == ADOPTED:
            pass  # stands for the user-made context, which comes next
        elif node._cause is NO_DEADLINE:
            parts.append(".WithCancel")
        else:
            when = node._deadline
            parts.append(f".WithDeadline({when!r} [{when - now!r}s])")
        node = node._parent
    if node is not None:
        named = type(node).__str__ is plain
        parts.append(type(node).__qualname__ if named else str(node))
    parts.reverse()
    return "".join(parts)


def _value(link: Value | None) -> str:
    assert link is not None
    value = link.value
    if value is None:
        shown = "<nil>"
    elif isinstance(value, str):
        shown = value
    else:
        shown = type(value).__qualname__  # never its repr: it may be a secret
    return f".WithValue({link.key.name}, {shown})"


def end_of(ctx: Context) -> str:
    """Whose end it was, where that was set, what caused it, what is left above."""
    node: Node | None = ctx if isinstance(ctx, Node) else None
    end = None if node is None else node._ended()
    if node is None or end is None:
        return str(ctx.err() or "")
    if end.left:
        said = BLOCK_LEFT.format(site=site(node))
    elif end.error is not DeadlineExceeded:
        said = CANCELED_AT.format(site=site(node))
    elif node._span <= 0.0:
        said = DEADLINE_PASSED.format(site=site(node))
    else:
        said = BUDGET_RAN_OUT.format(budget=node._span, site=site(node))
    if end.cause is not None:
        cause = end.cause
        name = type(cause).__name__
        said += CAUSED_BY.format(cause=f"{name}: {cause}" if str(cause) else name)
    up = node._up
    if up is not None and up._deadline != INF and up._ended() is None:
        said += LEFT_ABOVE.format(left=max(0.0, up._deadline - end.at))
    label = ctx.value(LABEL)
    if label:
        said += OF_ROOT.format(label=label)
    return said
