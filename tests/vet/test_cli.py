"""The command line, as it is typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tether.cli import MISSING
from tether.cli._app import app
from tether.vet import ALL_RULES, Rule

SLEEPS = """\
import time
from tether import Context


def f(ctx: Context) -> None:
    time.sleep(1)
    ctx.with_timeout(2.0)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.py").write_text(SLEEPS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vet(*args: str) -> Result:
    return CliRunner().invoke(app, ["vet", *args])


def test_findings_are_exit_status_one(project: Path) -> None:
    result = vet()
    assert result.exit_code == 1
    assert "shop.py:6:5: sleep-without-ctx (CTX204)" in result.stdout
    assert "2 findings in 1 file; --fix cures 1" in result.stderr


def test_none_are_zero(project: Path) -> None:
    result = vet("--ignore", "CTX204,discarded-scope")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere.py"], "does not exist"),
        (["--select", "CTX999"], "no rule 'CTX999'"),
        (["--explain", "lost-scpe"], "did you mean lost-scope"),
        (["--output", "xml"], "xml"),
        (["--baseline", "nowhere.json"], "cannot be read"),
        (["--jobs", "-1"], "-1"),
        (["--select", ""], "need rules"),
        (["--ignore", ","], "need rules"),
        (["--write-baseline", "--baseline", "no/x.json"], "cannot be written"),
        (["--statistics", "--output", "json"], "is text"),
    ],
)
def test_wrong_use_is_two(project: Path, args: list[str], said: str) -> None:
    result = vet(*args)
    assert result.exit_code == 2
    assert said in result.stderr


def test_wrong_settings_are_two(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.tether.vet]\nx = 1\n")
    result = vet()
    assert result.exit_code == 2
    assert "pyproject.toml" in result.stderr


def test_select_and_output(project: Path) -> None:
    result = vet("--select", "CTX2", "--output", "json", "shop.py")
    assert result.exit_code == 1
    assert [row["code"] for row in json.loads(result.stdout)] == ["CTX204"]
    assert result.stderr == ""


def test_fix_cures_and_reports_the_rest(project: Path) -> None:
    result = vet("--fix")
    assert result.exit_code == 1
    assert "cured 1" in result.stderr
    assert "CTX302" in result.stdout
    assert "CTX204" not in result.stdout
    assert "    ctx.sleep(1)\n" in (project / "shop.py").read_text()


@pytest.mark.skipif(os.name == "nt", reason="rights are different there")
def test_what_cannot_be_cured_is_told_and_the_rest_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "other.py").write_text(SLEEPS, encoding="utf-8")
    write = Path.write_bytes

    def refuse(path: Path, data: bytes) -> int:  # root may write everything
        if path.name == "other.py":
            raise PermissionError(13, "Permission denied")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    result = vet("--fix")
    assert result.exit_code == 1
    assert "other.py is not cured: Permission denied" in result.stderr
    assert "other.py:6:5: sleep-without-ctx" in result.stdout
    assert "\nshop.py:6" not in result.stdout


def test_fix_twice_is_fix_once(project: Path) -> None:
    vet("--fix")
    once = (project / "shop.py").read_bytes()
    result = vet("--fix")
    assert "cured" not in result.stderr
    assert (project / "shop.py").read_bytes() == once


def test_the_hook_leaves_out_what_is_excluded(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        '[tool.tether.vet]\nexclude = ["shop.py"]\n'
    )
    assert vet("shop.py").exit_code == 1
    hook = (Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text()
    [entry] = re.findall(r"entry: tether vet (.*)", hook)
    assert vet(*entry.split(), "shop.py").exit_code == 0


def test_diff_changes_nothing(project: Path) -> None:
    result = vet("--diff")
    assert result.exit_code == 1
    assert "-    time.sleep(1)\n+    ctx.sleep(1)\n" in result.stdout
    assert (project / "shop.py").read_text() == SLEEPS
    assert vet("--diff", "--ignore", "CTX204").exit_code == 0


def test_a_baseline_is_written_and_read(project: Path) -> None:
    result = vet("--write-baseline")
    assert result.exit_code == 0
    assert "accepted 2 findings" in result.stderr
    assert vet().exit_code == 1  # nobody said that it is to be read
    assert vet("--baseline", "tether-vet-baseline.json").exit_code == 0
    (project / "pyproject.toml").write_text(
        '[tool.tether.vet]\nbaseline = "tether-vet-baseline.json"\n'
    )
    assert vet().exit_code == 0
    (project / "shop.py").write_text("x = 1\n")
    assert "2 in the baseline are gone" in vet().stderr


TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": None}
ESCAPES = re.compile(r"\x1b(\[[0-9;]*m|\]8;[^\x1b]*\x1b\\)")


@pytest.mark.parametrize("output", ["full", "concise"])
def test_a_terminal_gets_the_same_words_in_color(project: Path, output: str) -> None:
    plain = vet("--output", output)
    color = CliRunner(env=TERMINAL).invoke(app, ["vet", "--output", output])
    assert ESCAPES.search(color.stdout)
    assert ESCAPES.sub("", color.stdout) == plain.stdout
    assert color.exit_code == 1


def test_a_terminal_gets_the_explanation_set_as_a_page(project: Path) -> None:
    color = CliRunner(env=TERMINAL).invoke(app, ["vet", "--explain", "lost-scope"])
    text = ESCAPES.sub("", color.stdout)
    assert "lost-scope (CTX301)" in text
    assert "```" not in text


def test_statistics_count(project: Path) -> None:
    result = vet("--statistics")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "     1 sleep-without-ctx (CTX204)",
        "     1 discarded-scope (CTX302)",
    ]


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.code)
def test_every_rule_is_explained_by_code_and_name(rule: Rule) -> None:
    by_code, by_name = vet("--explain", rule.code), vet("--explain", rule.name)
    assert by_code.exit_code == by_name.exit_code == 0
    assert by_code.stdout == by_name.stdout
    assert f"{rule.name} ({rule.code})" in by_code.stdout


def test_every_option_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/vet.md").read_text()
    command = app.commands["vet"]
    for parameter in command.params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert not option.startswith("--") or option in page, option


def python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[2] / "src")
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_m_tether(project: Path) -> None:
    result = python("-m", "tether", "vet", "shop.py", cwd=project)
    assert result.returncode == 1
    assert "CTX204" in result.stdout
    assert python("-m", "tether", "--help", cwd=project).returncode == 0


HIDDEN = """
import sys
sys.modules["click"] = None
import tether.cli
tether.cli.main()
"""


def test_without_its_libraries_it_says_what_to_install(project: Path) -> None:
    result = python("-c", HIDDEN, cwd=project)
    assert (result.returncode, result.stderr) == (2, MISSING)
    assert 'pip install "tether[cli]"' in MISSING


def test_the_linter_itself_needs_no_library(project: Path) -> None:
    code = "import tether.vet as v; print(len(v.check(['shop.py']).findings))"
    result = python("-S", "-c", code, cwd=project)
    assert (result.returncode, result.stdout) == (0, "2\n"), result.stderr
