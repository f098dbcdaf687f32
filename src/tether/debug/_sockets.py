"""The socket files by which processes on this machine are found, one a process.

In a folder of the user's own that nobody else may enter.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import tempfile
from pathlib import Path

_TAKEN = (
    "the live page cannot listen on the socket {path}: {why}; give another path=, of "
    "at most 100 bytes, in a folder that is there"
)
_NAME = re.compile(r"(\d+)\.sock")


def folder() -> Path:
    """The folder of this user; made if need be. `OSError` if it is somebody else's."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    uid = os.getuid()
    path = (
        Path(base, "tether") if base else Path(tempfile.gettempdir(), f"tether-{uid}")
    )
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        raise PermissionError(f"{path} is not a folder of this user")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def mine() -> Path:
    """That of this process."""
    return folder() / f"{os.getpid()}.sock"


def bind(path: Path) -> socket.socket:
    """A socket that listens at `path`, for this user only; `OSError` if it cannot."""
    if path.is_socket() and not _answers(path):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    try:
        # In two steps: nobody may connect between bind and chmod.
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(16)
    except OSError as error:
        sock.close()
        said = _TAKEN.format(path=path, why=error.strerror or error)
        raise OSError(error.errno, said) from None
    except BaseException:
        sock.close()
        raise
    return sock


def processes() -> dict[int, Path]:
    """The processes that can be looked at. What those that are gone left is removed."""
    found: dict[int, Path] = {}
    for path in sorted(folder().iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        if _answers(path):
            found[int(match[1])] = path
        else:
            path.unlink(missing_ok=True)
    return found


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(str(path))
        except TimeoutError:
            return True  # somebody is there
        except OSError:
            return False
    return True
