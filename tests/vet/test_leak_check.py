"""CTX801 knows where the leak check may be switched on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tether.vet import Settings, check

TEST = """\
from tether import Group, background


def test_it() -> None:
    with Group(background()):
        pass
"""


def found(folder: Path) -> list[tuple[str, int]]:
    settings = Settings(select=("CTX801",), folder=folder)
    report = check([folder], settings)
    return [(Path(one.path).name, one.line) for one in report.findings]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[tool.pytest.ini_options]\ntether_leaks = "strict"\n'),
        ("pytest.ini", "[pytest]\ntether_leaks = strict\n"),
        ("tox.ini", "[pytest]\ntether_leaks = strict\n"),
        ("setup.cfg", "[tool:pytest]\ntether_leaks = strict\n"),
        ("tests/conftest.py", "MARKER = 'tether_leaks'\n"),
    ],
)
def test_one_line_anywhere_cures_all_files(
    tmp_path: Path, name: str, text: str
) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    for file in ("test_one.py", "test_two.py"):
        (tests / file).write_text(TEST, encoding="utf-8")
    assert found(tmp_path) == [("test_one.py", 5), ("test_two.py", 5)]
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert found(tmp_path) == []


def test_settings_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_one.py").write_text(TEST, encoding="utf-8")
    (tmp_path / "setup.cfg").write_bytes(b"tether_leaks \xff")
    assert found(tmp_path) == [("test_one.py", 5)]
