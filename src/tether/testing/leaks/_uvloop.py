"""uvloop, which is to be loaded before anything is put into its loops."""

from __future__ import annotations

_warm = False


def start() -> None:
    """Load it, if there is one, and have it open what it opens once, for good.

    Its first loop opens a pipe for signals, which no test answers for.
    """
    global _warm
    if not _warm:
        _warm = True
        try:
            import uvloop
        except ImportError:
            return
        uvloop.new_event_loop().close()


def stop() -> None:
    """It stays."""
