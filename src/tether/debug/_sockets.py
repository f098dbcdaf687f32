"""The socket files by which processes on this machine are found, one a process.

In a folder of the user's own that nobody else may enter.
"""

from __future__ import annotations

import errno
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


def folders(uid: int) -> list[Path]:
    """Where a process of this user can have its socket: the first that it can use.

    All are looked into, as who looks and who is looked at often differ in their
    environment: a service has none of that of a login.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    own = [Path(base, "tether")] if base and uid == os.getuid() else []
    temporary = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108
    found = [
        *own,
        *(one / f"tether-{uid}" for one in temporary),
        Path(f"/run/user/{uid}/tether"),
    ]
    return [*dict.fromkeys(found)]


def listen() -> tuple[Path, socket.socket]:
    """That of this process, in the first folder it can use; `OSError` if in none."""
    failed: OSError | None = None
    for path in folders(os.getuid()):
        try:
            _make(path)
            mine = path / f"{os.getpid()}.sock"
            return mine, bind(mine)
        except OSError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _make(path: Path) -> None:
    """A folder of this user; `OSError` if it is somebody else's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_of(path, os.getuid()):
        raise PermissionError(errno.EPERM, f"{path} is not a folder of this user")
    if stat.S_IMODE(path.lstat().st_mode) != 0o700:
        path.chmod(0o700)


def _is_of(path: Path, uid: int) -> bool:
    """Whether it is a folder of this user: others may put theirs in a common place."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid


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
    uid = os.getuid()
    for folder in folders(uid):
        for path in sorted(folder.iterdir()) if _is_of(folder, uid) else []:
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            if _answers(path):
                found.setdefault(int(match[1]), path)
            else:
                path.unlink(missing_ok=True)
    return found


def of(pid: int) -> Path | None:
    """The socket of a process, also of another user's for root; None: it has none."""
    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        uid = os.getuid()
    for one in dict.fromkeys((os.getuid(), uid)):
        for folder in folders(one):
            path = folder / f"{pid}.sock"
            if _is_of(folder, one) and path.is_socket():
                return path
    return None


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
