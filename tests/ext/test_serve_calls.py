"""`tether serve` that was called wrongly, or cannot start."""

from __future__ import annotations

import inspect
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.core.support import LONG
from tests.ext.service_processes import APPS
from tether.cli._serve import serve
from tether.ext.asgi import Service


def call(folder: Path, *args: str) -> tuple[int, str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-m", "tether", "serve", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'MODULE:APP'"),
        (["shop"], "'shop' is not of the form MODULE:APP"),
        (["shop:"], "'shop:' is not of the form MODULE:APP"),
        (["nowhere_at_all:app"], "there is no module 'nowhere_at_all' in "),
        (["tests.ext.nowhere.api:app"], "there is no module 'tests.ext.nowhere' in "),
        ([f"{APPS}:nothing"], f"'{APPS}' has no 'nothing'"),
        ([f"{APPS}:api.nothing"], f"'{APPS}' has no 'api.nothing'"),
        ([f"{APPS}:number"], f"{APPS}:number is no ASGI application: 7"),
        ([f"{APPS}:times", "--factory"], f"{APPS}:times() made no application: {{}}"),
        ([f"{APPS}:app", "--drain", "2"], "is a Service, which has its own: --drain"),
        ([f"{APPS}:api", "--drain", "-1"], "Invalid value for '--drain'"),
        ([f"{APPS}:api", "--grace", "soon"], "Invalid value for '--grace'"),
        ([f"{APPS}:api", "--grace", "nan"], "'nan' is not a number of seconds"),
        ([f"{APPS}:api", "--timeout", "0"], "Invalid value for '--timeout'"),
        ([f"{APPS}:api", "--timeout", "nan"], "'nan' is not a number of seconds"),
        ([f"{APPS}:api", "--header-timeout", "inf"], "'inf' is not a number of"),
        ([f"{APPS}:api", "--workers", "0"], "Invalid value for '--workers'"),
        (["--debug", f"{APPS}:api"], "--debug alone stands behind MODULE:APP"),
        ([f"{APPS}:api", "--debug", "0.0.0.0:0"], "give it a token= of 16 characters"),
        ([f"{APPS}:api", "--debug", "127.0.0.1:65536"], "is no HOST:PORT"),
        ([f"{APPS}:api", "--workers", "2", "--debug", "6061"], "takes no place"),
        ([f"{APPS}:api", "--port", "70000"], "Invalid value for '--port'"),
        ([f"{APPS}:api", "--readyz", "x"], "readyz is a path, as /readyz, or None"),
    ],
)
def test_what_cannot_work_is_said_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    result = CliRunner().invoke(serve, args)
    said = " ".join(result.output.split())
    assert (result.exit_code, message in said) == (2, True), said


def test_the_command_says_so_and_ends_with_2(tmp_path: Path) -> None:
    status, said = call(tmp_path, "nowhere_at_all:app")
    assert status == 2
    assert said.splitlines()[-1] == (
        f"Error: there is no module 'nowhere_at_all' in {tmp_path} or installed"
    )


def test_the_help_tells_the_times_of_a_service() -> None:
    said = " ".join(CliRunner().invoke(serve, ["--help"]).output.split())
    for name, parameter in inspect.signature(Service).parameters.items():
        if parameter.default is not parameter.empty:
            default = str(parameter.default).removesuffix(".0")
            assert re.search(f"--{name} .*?\\[default: {default}\\]", said), name


def test_without_uvicorn_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tether.cli._serve.find_spec", lambda name: None)
    result = CliRunner().invoke(serve, [f"{APPS}:api"])
    assert result.exit_code == 2
    assert 'pip install "tether[serve]"' in result.output


def test_a_failure_inside_the_module_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import nowhere_at_all\n", encoding="utf-8")
    status, said = call(tmp_path, "shop:app")
    assert status == 1
    assert 'shop.py", line 1' in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_startup_that_fails_ends_with_3(tmp_path: Path, workers: str) -> None:
    args = (f"{APPS}:fails_to_start", "--port", "0", "--workers", workers)
    status, said = call(tmp_path, *args)
    assert status == 3
    assert "no database" in said


def test_a_port_that_is_taken_ends_with_3(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, said = call(tmp_path, f"{APPS}:returns", "--port", port)
    assert status == 3
    assert "address already in use" in said
