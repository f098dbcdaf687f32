"""Which commands the server lets wait."""

from __future__ import annotations

BLOCKING = frozenset(
    (
        *("BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH"),
        *("BZMPOP", "BZPOPMAX", "BZPOPMIN"),
        *("WAIT", "WAITAOF", "XREAD", "XREADGROUP"),
    )
)
# The server may not have got the command yet when it is told to end it.
ASK_AGAIN = 0.01


def may_block(args: tuple[object, ...]) -> bool:
    """Whether it is a command that can wait for something to happen."""
    name = args[0] if args else ""
    if isinstance(name, bytes):
        name = name.decode("ascii", "replace")
    return str(name).upper() in BLOCKING
