"""Files in, findings out: what is left out, what is broken, what comes back as text."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tether.vet import (
    FORMATS,
    Finding,
    Settings,
    UsageError,
    check,
    check_text,
    diff,
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
    report = check(paths, Settings(**settings, folder=paths[0]))  # type: ignore[arg-type]
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
    indirect = tmp_path / "sub" / ".." / "a.py"
    (tmp_path / "sub").mkdir()
    assert codes(path, path, tmp_path, indirect) == [("a.py", "CTX302")]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_file_with_two_names_is_looked_at_once(tmp_path: Path) -> None:
    write(tmp_path / "pkg" / "a.py")
    (tmp_path / "b.py").symlink_to(tmp_path / "pkg" / "a.py")
    (tmp_path / "again").symlink_to(tmp_path)  # a circle
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    assert codes(tmp_path) == [("b.py", "CTX302")]


def test_what_is_excluded_does_not_depend_on_what_is_named(tmp_path: Path) -> None:
    for name in ["a.py", "src/gen/b.py", "src/c.py"]:
        write(tmp_path / name)
    settings = Settings(exclude=("src/gen",), folder=tmp_path)
    strict = replace(settings, force_exclude=True)

    def found(settings: Settings, *names: str) -> list[str]:
        report = check([tmp_path / name for name in names], settings)
        return [Path(f.path).name for f in report.findings]

    assert found(settings, "") == ["a.py", "c.py"]
    assert found(settings, "src") == ["c.py"]
    # What is named is meant, unless a tool names it.
    assert found(settings, "src/gen/b.py", "a.py") == ["a.py", "b.py"]
    assert found(strict, "src/gen/b.py", "src/gen", "a.py") == ["a.py"]


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


def test_an_ignore_of_what_is_no_rule_is_reported() -> None:
    text = "x = 1  # tether: ignore[lost-scpe] for good reason\n"
    [finding] = check_text(text, select="default")
    assert (finding.code, finding.message) == (
        *("CTX002", "there is no rule lost-scpe, so nothing is suppressed here"),
    )
    # Codes of other linters may look like anything.
    assert check_text("x = 1  # noqa: CTX999\n", select="default") == []


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


def test_a_part_without_settings_has_those_of_the_whole(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool.tether.vet]\nignore = ['lost-scope']\n")
    write(tmp_path / "part" / "pyproject.toml", "[project]\nname = 'part'\n")
    assert load_settings(tmp_path / "part").ignore == ("lost-scope",)
    write(tmp_path / "pyproject.toml", "[project]\nname = 'whole'\n")
    assert load_settings(tmp_path / "part").folder == tmp_path / "part"


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


def test_in_private_modules_conventions_are_their_own_business(tmp_path: Path) -> None:
    text = """
from tether import Context
class Store:
    def __init__(self, name: str, ctx: Context) -> None:
        self.ctx = ctx
def f(a: int, ctx: Context) -> None: ...
"""
    write(tmp_path / "shop" / "__init__.py", "")
    write(tmp_path / "shop" / "_inner.py", text)
    write(tmp_path / "shop" / "api.py", text)
    assert codes(tmp_path) == [("api.py", "CTX105"), ("api.py", "CTX103")]


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


def test_the_mark_stands_below_its_place() -> None:
    text = "from tether import Context\ndef f(ctx: Context):\n\t'日本';\tctx.with_cancel('é')\n"
    lines = FORMATS["full"](check_text(text, select="CTX302")).split("\n")
    assert lines[1:3] == [
        "    '日本';\tctx.with_cancel('é')",
        "           \t^^^^^^^^^^^^^^^^^^^^",
    ]


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


def test_paths_are_references_in_sarif() -> None:
    found = check_text(LOST.format(comment=""), "shop/a b%#é.py")
    absolute = check_text(LOST.format(comment=""), str(Path("/shop/a b.py").absolute()))
    uris = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in json.loads(FORMATS["sarif"]([*found, *absolute]))["runs"][0][
            "results"
        ]
    ]
    assert uris[0] == "shop/a%20b%25%23%C3%A9.py"
    assert uris[1].startswith("file:///")
    assert uris[1].endswith("/a%20b.py")


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


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("# coding: latin-1\n", "latin-1"),
        ("", "utf-8-sig"),
        ("x = '\x0c日'\n", "utf-8"),
    ],
)
def test_a_fix_keeps_the_encoding(tmp_path: Path, head: str, encoding: str) -> None:
    path = tmp_path / "a.py"
    # No end of the last line, and a finding in the first.
    text = (head + SLEEPS).rstrip("\n").replace("import time\nf", "import time; f")
    path.write_bytes(text.encode(encoding))
    old, new, made = fixed(path, check([path]).findings)
    assert made == 2
    assert new.decode(encoding) == text.replace("time.sleep", "ctx.sleep")
    assert new.startswith(old[:3])


def test_a_file_that_has_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py", SLEEPS)
    findings = check([path]).findings
    write(path, SLEEPS.replace("(1)", "(7)"))
    old, new, made = fixed(path, findings)
    assert (old, made) == (new, 0)


def test_a_diff_is_one_that_patch_understands(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    text = SLEEPS.replace("# ä", "# \x0c\u2028 ä").rstrip("\n").replace("\n", "\r\n")
    path.write_bytes(text.encode())
    before, after, _ = fixed(path, check([path]).findings)
    lines = diff(Path("a.py"), before, after).split("\n")
    assert lines[:2] == ["--- a/a.py", "+++ b/a.py"]
    assert [line[:4] for line in lines[6:]] == [
        *("-   ", "-   ", "\\ No", "+   ", "+   ", "\\ No", ""),
    ]


def baseline(folder: Path, *paths: Path) -> tuple[list[int], int]:
    """The lines that are new in a project, and how many entries are out of date."""
    settings = Settings(folder=folder)
    report = check(paths or [folder], settings)
    left, stale = new_findings(folder / "known.json", report, settings)
    return [f.line for f in left.findings], stale


def accept(folder: Path, *paths: Path) -> None:
    settings = Settings(folder=folder)
    write_baseline(folder / "known.json", check(paths or [folder], settings), settings)


def test_the_baseline_holds_what_was_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py")
    accept(tmp_path)
    # Lines above do not matter, a second one of the same kind does.
    write(path, "# new\n" + LOST.format(comment="") + "    ctx.with_timeout(2.0)\n")
    assert baseline(tmp_path) == ([7], 0)
    write(path, "x = 1\n")
    assert baseline(tmp_path) == ([], 1)


def test_the_baseline_is_out_of_date_only_where_one_has_looked(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.py"), write(tmp_path / "b.py")
    accept(tmp_path)
    assert baseline(tmp_path, first) == ([], 0)
    settings = Settings(folder=tmp_path, select=("CTX204",))
    report = check([tmp_path], settings)
    assert new_findings(tmp_path / "known.json", report, settings) == (report, 0)
    second.unlink()
    assert baseline(tmp_path, first) == ([], 1)


def test_the_baseline_keeps_what_was_not_looked_at(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.py"), write(tmp_path / "b.py")
    accept(tmp_path)
    write(first, "x = 1\n")
    accept(tmp_path, first)
    assert baseline(tmp_path) == ([], 0)
    assert len(json.loads((tmp_path / "known.json").read_text())) == 1
    assert second.exists()


def test_an_empty_or_broken_baseline(tmp_path: Path) -> None:
    accept(tmp_path)
    assert baseline(tmp_path) == ([], 0)
    write(tmp_path / "known.json", "{")
    with pytest.raises(UsageError, match="cannot be read"):
        baseline(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        write_baseline(tmp_path / "no" / "x.json", check([tmp_path]), Settings())


# -- large files -----------------------------------------------------------------------

HEAD = """\
from tether import Context, background
def g(ctx: Context, i: int) -> object: ...
"""
FUNCTION = """\
def f{0}(ctx: Context, a: int) -> None:
    with ctx.with_timeout(1.0) as work:
        g(work, a)
        g(ctx, {0})
    scope = ctx.with_cancel()
    if a:
        return
    g(scope, 1)
"""
STATEMENTS = """\
    x{0} = g(ctx, {0})
    y{0} = background()
    if x{0}:
        g(r, 1)
"""


def steps(text: str) -> int:
    """How many calls of functions of the linter it takes to look at a source."""
    count = 0

    def counting(frame: object, event: str, _: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counting)
    try:
        check_text(text, "nowhere/shop.py")
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (HEAD, FUNCTION),
        (
            f"{HEAD}def big(ctx: Context) -> None:\n    r = ctx.with_cancel()\n",
            STATEMENTS,
        ),
    ],
    ids=["many functions", "one long function"],
)
def test_twice_as_much_source_is_twice_as_much_work(head: str, piece: str) -> None:
    once, twice = (
        steps(head + "".join(map(piece.format, range(count)))) for count in (150, 300)
    )
    assert twice < 2.3 * once
