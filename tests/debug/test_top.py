"""`tether top`: finds the process, prints one look, tells what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.debug.sick import PREFETCH, sick
from tether import debug
from tether.cli import _top
from tether.cli._app import app
from tether.debug._watch import APART


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look, for the growth, follows at once."""
    monkeypatch.setattr(_top, "_APART", 2 * APART)


def top(*words: str) -> Result:
    return CliRunner().invoke(app, ["top", *words], env={"COLUMNS": "200"})


async def in_a_thread(*words: str) -> Result:
    return await asyncio.to_thread(top, *words)


def test_once_prints_one_look_of_the_process_it_finds(page: debug.Server) -> None:
    async def main() -> Result:
        async with sick(30):
            return await in_a_thread("--once")

    result = asyncio.run(main())
    assert result.exit_code == 0
    assert f"pid {os.getpid()}" in result.output
    assert PREFETCH in result.output
    assert "Pool.slots: 28 wait, 0 free" in result.output
    assert f"held by 2 {PREFETCH}" in result.output


def test_names_of_the_program_do_nothing_to_a_terminal(page: debug.Server) -> None:
    async def main() -> Result:
        async with sick(3, label="\x1b[2Jgone"):
            return await in_a_thread("--once")

    output = asyncio.run(main()).output
    assert "\x1b[2J" not in output
    assert r"\x1b[2Jgone" in output


def test_a_process_is_named_by_pid_port_or_socket(page: debug.Server) -> None:
    for name in (str(os.getpid()), f"127.0.0.1:{page.port}", str(page.path)):
        result = top(name, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.output)["pid"] == os.getpid()


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:{}", "http://localhost:{}/", "127.0.0.1:{}/"]
)
def test_a_process_is_named_by_what_a_browser_is_given(
    page: debug.Server, name: str
) -> None:
    result = top(name.format(page.port), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["pid"] == os.getpid()


def test_a_page_without_a_port_is_named_by_its_url() -> None:
    with debug.serve(port=None) as page:
        assert page.url.startswith("unix:")
        assert top(page.url, "--json").exit_code == 0


def test_a_name_is_that_of_a_host() -> None:
    result = top("nosuch.invalid", "--once")
    assert result.exit_code == 1
    assert "No such file" not in result.output
    assert "no live page at nosuch.invalid" in result.output
    assert "not a URL" in top("https://localhost:6060/", "--once").output
    assert "not a URL" in top("localhost:99999", "--once").output


def test_once_tells_a_growth(page: debug.Server) -> None:
    assert json.loads(top("--json").output)["growth"] is not None


def test_a_service_is_found_whose_environment_is_another(
    runtime: Path,
) -> None:
    script = "from tether import debug; debug.serve(port=0); print('', flush=True)"
    env = os.environ | {"TMPDIR": str(runtime)}
    del env["XDG_RUNTIME_DIR"]
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}; input()"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = subprocess.run(
            [sys.executable, "-m", "tether", "top", str(child.pid), "--json"],
            env=os.environ | {"TMPDIR": str(runtime)},
            capture_output=True,
            text=True,
            check=False,
        )
        child.communicate(b"\n")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["pid"] == child.pid


def test_without_a_process_the_cure_is_told() -> None:
    result = top("--once")
    assert result.exit_code == 1
    assert "call tether.debug.serve()" in result.output


def test_a_process_that_does_not_answer_is_told() -> None:
    result = top("1", "--once")
    assert result.exit_code == 1
    assert "no live page of process 1" in result.output


def test_a_wrong_token_is_told() -> None:
    token = "0123456789abcdef"
    with debug.serve(port=0, token=token) as page:
        name = f"127.0.0.1:{page.port}"
        assert top(name, "--json").exit_code == 1
        assert "401" in top(name, "--json").output
        assert top(name, "--json", "--token", token).exit_code == 0
        assert top(f"http://{name}/?token={token}", "--json").exit_code == 0
