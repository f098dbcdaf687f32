"""`tether top`: finds the process, prints one look, tells what is wrong."""

from __future__ import annotations

import asyncio
import json
import os

from click.testing import CliRunner, Result

from tests.debug.sick import PREFETCH, sick
from tether import debug
from tether.cli._app import app


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


def test_without_a_process_the_cure_is_told() -> None:
    result = top("--once")
    assert result.exit_code == 1
    assert "call tether.debug.serve()" in result.output


def test_a_process_that_does_not_answer_is_told() -> None:
    result = top("1", "--once")
    assert result.exit_code == 1
    assert "no live page at 1" in result.output


def test_a_wrong_token_is_told() -> None:
    token = "0123456789abcdef"
    with debug.serve(port=0, token=token) as page:
        name = f"127.0.0.1:{page.port}"
        assert top(name, "--json").exit_code == 1
        assert "401" in top(name, "--json").output
        assert top(name, "--json", "--token", token).exit_code == 0
