"""Files in, findings out: what is left out, what is broken, what comes back as text."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tether.vet import (
    FORMATS,
    Finding,
    Settings,
    UsageError,
    check,
    check_text,
    fixed,
    load_settings,
    new_findings,
    write_baseline,
)
from tether.vet._run import MANY
from tether.vet._settings import expand

LOST = """\
from tether import Context


def f(ctx: Context) -> None:
    ctx.with_timeout(2.0){comment}
"""


def write(path: Path, text: str = LOST.format(comment="")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def codes(*paths: Path, **settings: tuple[str, ...]) -> list[tuple[str, str]]:
    report = check(paths, Settings(**settings))  # type: ignore[arg-type]
    return [(Path(f.path).name, f.code) for f in report.findings]


# -- which files -----------------------------------------------------------------------


def test_folders_are_searched_and_environments_left_out(tmp_path: Path) -> None:
    for name in [
        *("a.py", "pkg/b.py", "c.txt", ".hidden/d.py", "venv/e.py", "env/f.py"),
        *("__pycache__/g.py", "node_modules/h.py"),
    ]:
        write(tmp_path / name)
    write(tmp_path / "env" / "pyvenv.cfg", "")
    assert [name for name, _ in codes(tmp_path)] == ["a.py", "b.py"]
    # What is named is looked at all the same.
    assert codes(tmp_path / ".hidden" / "d.py") == [("d.py", "CTX302")]


def test_excluded_files_are_left_out(tmp_path: Path) -> None:
    for name in ["a.py", "gen/b.py", "gen/deep/c.py", "d_pb2.py"]:
        write(tmp_path / name)
    assert codes(tmp_path, exclude=("gen", "*_pb2.py")) == [("a.py", "CTX302")]
    assert len(codes(tmp_path, exclude=("gen/deep/",))) == 3


def test_a_file_named_twice_is_looked_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py")
    assert codes(path, path, tmp_path) == [("a.py", "CTX302")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"def f(:\n", "not valid Python"),
        (b"x = 1\n\0\n", "null"),
        (b"# coding: klingon\n", "decoded"),
        (b"x = '\xff'\n", "decoded"),
        (b"(" * 300 + b")" * 300, ""),
    ],
)
def test_what_is_broken_is_reported_and_the_rest_goes_on(
    tmp_path: Path, data: bytes, said: str
) -> None:
    write(tmp_path / "a.py")
    (tmp_path / "b.py").write_bytes(data)
    report = check([tmp_path])
    assert [f.code for f in report.findings] == ["CTX302", "CTX001"]
    assert said in report.findings[1].message


def test_a_broken_file_is_told_whatever_is_selected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py", "def f(:\n")
    assert codes(path, select=("CTX301",)) == [("a.py", "CTX001")]
    assert codes(path, select=("CTX301",), ignore=("broken-file",)) == []


@pytest.mark.skipif(os.name == "nt", reason="rights are different there")
def test_what_cannot_be_read_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    gone = tmp_path / "gone.py"
    assert codes(tmp_path / "pipe.py", gone) == [
        ("gone.py", "CTX001"),
        ("pipe.py", "CTX001"),
    ]


def test_a_marked_encoding_and_other_line_ends_are_read(tmp_path: Path) -> None:
    text = LOST.format(comment="").replace("def f", "name = 'ä'\n\n\ndef f")
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "b.py").write_bytes(text.replace("\n", "\r\n").encode())
    coded = "# coding: latin-1\n" + text
    (tmp_path / "c.py").write_bytes(coded.encode("latin-1"))
    assert codes(tmp_path) == [(f"{x}.py", "CTX302") for x in "abc"]


def test_columns_count_characters() -> None:
    text = "from tether import Context\ndef f(ctx: Context): 'äöü'; ctx.with_cancel()\n"
    [finding] = check_text(text)
    assert text.split("\n")[1][finding.column - 1 :].startswith("ctx.with_cancel")


def test_many_files_on_all_cores_give_what_one_process_gives(tmp_path: Path) -> None:
    for number in range(MANY):
        write(
            tmp_path / f"f{number}.py", LOST.format(comment="") if number % 9 else "x"
        )
    one = check([tmp_path], jobs=1)
    two = check([tmp_path], jobs=2)
    assert one == two
    assert one.files == MANY
    assert len(one.findings) == MANY - (MANY + 8) // 9


# -- comments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment",
    [
        "  # noqa",
        "  # NOQA",
        "  # noqa: CTX302",
        "  # noqa:CTX302",
        "  # noqa: E501, CTX302",
        "  # type: ignore # noqa: CTX302 it is meant so",
        "  # tether: ignore[discarded-scope]",
        "  # tether: ignore[discarded-scope] it is meant so",
        "  # tether: ignore[lost-scope, CTX302]",
        "  #tether:ignore[ctx302]",
    ],
)
def test_a_comment_suppresses(comment: str) -> None:
    found = check_text(LOST.format(comment=comment), select="CTX302")
    assert found == []


@pytest.mark.parametrize(
    "comment",
    [
        "  # noqa: E501",
        "  # noqa: because I say so",
        "  # noqax",
        "  # tether: ignore",
        "  # tether: ignore[]",
        "  # tether: ignore[lost-scope]",
        '; x = "# noqa"',
    ],
)
def test_another_comment_does_not(comment: str) -> None:
    found = check_text(LOST.format(comment=comment), select="CTX302")
    assert [f.code for f in found] == ["CTX302"]


def test_the_comment_may_stand_at_the_end_of_the_expression() -> None:
    text = LOST.format(comment="").replace(
        "2.0)", "\n        2.0\n    )  # noqa: CTX302"
    )
    assert check_text(text, select="CTX302") == []


def test_an_ignore_that_matches_nothing_is_reported() -> None:
    text = (
        "x = 1  # tether: ignore[lost-scope] once upon a time\ny = 2  # noqa: CTX301\n"
    )
    found = check_text(text)
    assert [(f.line, f.code) for f in found] == [(1, "CTX002"), (2, "CTX002")]
    # Not where the rule is off, nor for the codes of others.
    assert check_text("x = 1  # noqa: E501\ny = 1  # noqa\n") == []
    assert check_text("x = 1  # noqa: CTX501\n", select="default") == []


# -- settings --------------------------------------------------------------------------


def test_words_for_rules() -> None:
    assert expand(["CTX301"]) == expand(["ctx301"]) == expand(["lost-scope"])
    assert expand(["CTX3"]) > expand(["CTX301", "CTX302"])
    assert expand(["all"]) > expand(["default"])
    assert "CTX501" not in expand(["default"])
    with pytest.raises(UsageError, match="lost-scope"):
        expand(["lost-scpe"])


def test_settings_come_from_the_project_around_a_path(tmp_path: Path) -> None:
    write(
        tmp_path / "pyproject.toml",
        """
[tool.tether.vet]
select = ["CTX3", "CTX501"]
ignore = ["lost-scope"]
exclude = ["gen"]
baseline = "known.json"
per-file-ignores = { "old/*.py" = ["CTX302"] }
""",
    )
    path = write(tmp_path / "src" / "a.py")
    settings = load_settings(path)
    assert {rule.code for rule in settings.rules()} == {
        *("CTX001", "CTX302", "CTX303", "CTX304", "CTX305", "CTX306", "CTX501"),
    }
    assert settings.folder == tmp_path
    write(tmp_path / "old" / "b.py")
    report = check([tmp_path], settings)
    assert [Path(f.path).name for f in report.findings] == ["a.py"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("selct = []", "selct"),
        ("select = 'CTX301'", "list of strings"),
        ("select = ['CTX999']", "CTX999"),
        ("baseline = 3", "file's name"),
        ("per-file-ignores = ['x']", "table"),
        ("per-file-ignores = { x = ['CTX999'] }", "CTX999"),
        ("= 3", "pyproject.toml"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, line: str, said: str) -> None:
    write(tmp_path / "pyproject.toml", f"[tool.tether.vet]\n{line}\n")
    with pytest.raises(UsageError, match=said):
        load_settings(tmp_path)


def test_what_stands_above_the_project_makes_no_test_of_a_file(tmp_path: Path) -> None:
    project = tmp_path / "tests" / "project"
    path = write(project / "shop.py")
    write(project / "tests" / "helpers.py")
    found = check([project], Settings(folder=project)).findings
    assert [f.path for f in found] == [str(path)]


def test_the_order_of_parameters_is_free_in_private_modules(tmp_path: Path) -> None:
    text = "from tether import Context\ndef f(a: int, ctx: Context) -> None: ...\n"
    write(tmp_path / "shop" / "__init__.py", "")
    write(tmp_path / "shop" / "_inner.py", text)
    write(tmp_path / "shop" / "api.py", text)
    assert codes(tmp_path) == [("api.py", "CTX103")]


# -- as text ---------------------------------------------------------------------------


@pytest.fixture
def findings() -> list[Finding]:
    return check_text(LOST.format(comment=""), "shop/a,b.py")


def test_full_shows_the_line_and_a_mark(findings: list[Finding]) -> None:
    assert FORMATS["full"](findings) == (
        "shop/a,b.py:5:5: discarded-scope (CTX302)\n"
        "    ctx.with_timeout(2.0)\n"
        "    ^^^^^^^^^^^^^^^^^^^^^\n"
        "  with_timeout() changes nothing in place: what it answers is dropped\n\n"
    )


def test_concise_is_one_line(findings: list[Finding]) -> None:
    [line] = FORMATS["concise"](findings).splitlines()
    assert line.startswith("shop/a,b.py:5:5: discarded-scope (CTX302) with_timeout()")


def test_json_has_all_of_it(findings: list[Finding]) -> None:
    [row] = json.loads(FORMATS["json"](findings))
    assert (row["path"], row["line"], row["column"]) == ("shop/a,b.py", 5, 5)
    assert (row["code"], row["name"], row["fixable"]) == (
        *("CTX302", "discarded-scope", False),
    )


def test_sarif_is_what_code_scanning_reads(findings: list[Finding]) -> None:
    log = json.loads(FORMATS["sarif"](findings))
    assert log["version"] == "2.1.0"
    [run] = log["runs"]
    [result] = run["results"]
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["id"] == result["ruleId"] == "CTX302"
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 5, "startColumn": 5, "endLine": 5, "endColumn": 26}


def test_github_escapes_what_would_end_the_command(findings: list[Finding]) -> None:
    [line] = FORMATS["github"](findings).splitlines()
    assert line.startswith(
        "::error title=discarded-scope (CTX302),file=shop/a%2Cb.py,line=5,col=5,"
    )


# -- fixes and the baseline ------------------------------------------------------------

SLEEPS = """\
import time
from tether import Context


def f(ctx: Context) -> None:
    time.sleep(1)  # ä stays
    time.sleep(2)
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_fix_changes_its_place_only(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.py"
    before = SLEEPS.replace("\n", end).encode()
    path.write_bytes(before)
    old, new, made = fixed(path, check([path]).findings)
    assert (old, made) == (before, 2)
    assert new == before.replace(b"time.sleep", b"ctx.sleep")


def test_a_fix_leaves_other_encodings_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(("# coding: latin-1\n" + SLEEPS).encode("latin-1"))
    findings = check([path]).findings
    assert len(findings) == 2
    old, new, made = fixed(path, findings)
    assert (old, made) == (new, 0)


def test_the_baseline_holds_what_was_there(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    path = write(tmp_path / "a.py")
    write_baseline(known, check([path]).findings, tmp_path)
    # Lines above do not matter, a second one of the same kind does.
    text = "# new\n" + LOST.format(comment="") + "    ctx.with_timeout(2.0)\n"
    write(path, text)
    left, stale = new_findings(known, check([path]).findings, tmp_path)
    assert ([f.line for f in left], stale) == ([7], 0)
    write(path, "x = 1\n")
    assert new_findings(known, check([path]).findings, tmp_path) == ([], 1)


def test_an_empty_or_broken_baseline(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    write_baseline(known, [], tmp_path)
    assert new_findings(known, [], tmp_path) == ([], 0)
    write(known, "{")
    with pytest.raises(UsageError, match="cannot be read"):
        new_findings(known, [], tmp_path)
