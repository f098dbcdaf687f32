"""The library itself: httpx, or httpx2 where that is missing."""

from typing import TYPE_CHECKING

__all__ = ["httpx"]

if TYPE_CHECKING:
    import httpx
else:
    try:
        import httpx
    except ModuleNotFoundError:
        try:
            import httpx2 as httpx
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                'tether.ext.httpx needs httpx or httpx2: pip install "tether[httpx]"',
                name="httpx",
            ) from None
