"""The parts of uvicorn that are built on."""

from __future__ import annotations

try:
    from uvicorn import Config, Server
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState
    from uvicorn.supervisors import Multiprocess, multiprocess
except ImportError as error:
    raise ImportError(
        'tether.ext.uvicorn needs uvicorn: pip install "uvicorn>=0.54"'
    ) from error

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:
    FAST = False
else:
    FAST = True

__all__ = [
    "FAST",
    "STARTUP_FAILURE",
    "Config",
    "H11Protocol",
    "HttpToolsProtocol",
    "Multiprocess",
    "Server",
    "ServerState",
    "multiprocess",
]
