"""`tether vet`: the linter, and what becomes of its findings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from .. import vet as linter
from ..vet import Finding, Report, Settings, UsageError

BASELINE = "tether-vet-baseline.json"
_FOR_PEOPLE = frozenset({"full", "concise"})
_ROUNDS = 5  # of --fix: a fix may make room for another


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    type=click.Path(exists=True, path_type=Path),
    metavar="[PATHS]...",
)
@click.option(
    "--select",
    metavar="RULES",
    help="Look for these only: codes, names, CTX3, default, all.",
)
@click.option("--ignore", metavar="RULES", help="Leave these out.")
@click.option(
    "--force-exclude",
    is_flag=True,
    help="Leave out what the settings exclude even if it is named here.",
)
@click.option("--fix", is_flag=True, help="Cure what can be cured safely.")
@click.option("--diff", is_flag=True, help="Show what --fix would do, and do nothing.")
@click.option(
    "--output",
    "-o",
    type=click.Choice(sorted(linter.FORMATS)),
    default="full",
    show_default=True,
    help="How findings are written.",
)
@click.option("--statistics", is_flag=True, help="Count by rule instead.")
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Known findings, which do not count.",
)
@click.option(
    "--write-baseline",
    is_flag=True,
    help=f"Accept all present findings; into --baseline or {BASELINE}.",
)
@click.option("--explain", metavar="RULE", help="Say what a rule wants, and why.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=0),
    default=0,
    help="Processes; 0 is one for each core.",
)
def vet(
    paths: tuple[Path, ...],
    select: str | None,
    ignore: str | None,
    force_exclude: bool,
    fix: bool,
    diff: bool,
    output: str,
    statistics: bool,
    baseline: Path | None,
    write_baseline: bool,
    explain: str | None,
    jobs: int,
) -> None:
    """Find the missing ctx and the scope that is never released.

    Looks at files and folders, by default at the present one. Settings are read from
    [tool.tether.vet] in pyproject.toml. The exit status is 0 if all is well, 1 if there
    are findings, 2 if it was called wrongly.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        if explain is not None:
            _explain(console, explain)
            return
        paths = paths or (Path(),)
        settings = linter.load_settings(paths[0].absolute())
        settings = _with(settings, select, ignore, force_exclude)
        if statistics:
            _check_text(output)
        known = _baseline(settings, baseline)
        if diff:
            code = _diff(paths, settings, jobs)
        elif write_baseline:
            code = _accept(paths, settings, jobs, known or settings.folder / BASELINE)
        else:
            report = (
                _fixed(paths, settings, jobs)
                if fix
                else linter.check(paths, settings, jobs)
            )
            code = _report(console, report, output, statistics, known, settings)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    raise SystemExit(code)


def _with(
    settings: Settings, select: str | None, ignore: str | None, force_exclude: bool
) -> Settings:
    if select is not None:
        settings = replace(settings, select=_words(select))
    if ignore is not None:
        settings = replace(settings, ignore=(*settings.ignore, *_words(ignore)))
    if force_exclude:
        settings = replace(settings, force_exclude=True)
    settings.rules()  # complain now about what is not known
    return settings


def _check_text(output: str) -> None:
    if output not in _FOR_PEOPLE:
        raise UsageError(f"--statistics is text: it cannot be written as {output}")


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise UsageError("--select and --ignore need rules: lost-scope,CTX2")
    return words


def _baseline(settings: Settings, given: Path | None) -> Path | None:
    if given is not None or settings.baseline is None:
        return given
    return settings.folder / settings.baseline


def _explain(console: Console, word: str) -> None:
    text = linter.explain(linter.rule_of(word)).replace("<!-- skip: next -->\n", "")
    if console.is_terminal:
        from rich.markdown import Markdown  # takes a while, and is not needed else

        console.print(Markdown(text))
    else:
        click.echo(text, nl=False)


def _diff(paths: Sequence[Path], settings: Settings, jobs: int) -> int:
    changed = 0
    for path, findings in _by_path(linter.check(paths, settings, jobs)).items():
        before, after, made = linter.fixed(path, findings)
        if made:
            changed += 1
            click.echo(linter.diff(path, before, after), nl=False)
    return 1 if changed else 0


def _fixed(paths: Sequence[Path], settings: Settings, jobs: int) -> Report:
    """Fix, look again, and so on; the report is that of the last look."""
    made = 0
    for _ in range(_ROUNDS):
        report = linter.check(paths, settings, jobs)
        now = 0
        for path, findings in _by_path(report).items():
            _, after, count = linter.fixed(path, findings)
            if count and _write(path, after):
                now += count
        made += now
        if not now:
            break
    else:
        report = linter.check(paths, settings, jobs)
    if made:
        click.echo(f"cured {made}", err=True)
    return report


def _write(path: Path, data: bytes) -> bool:
    try:
        path.write_bytes(data)
    except OSError as error:
        click.echo(f"{path} is not cured: {error.strerror}", err=True)
        return False
    return True


def _accept(paths: Sequence[Path], settings: Settings, jobs: int, known: Path) -> int:
    report = linter.check(paths, settings, jobs)
    linter.write_baseline(known, report, settings)
    click.echo(f"accepted {_count(len(report.findings))} into {known}", err=True)
    return 0


def _by_path(report: Report) -> dict[Path, list[Finding]]:
    found: dict[Path, list[Finding]] = {}
    for finding in report.findings:
        if finding.edits:
            found.setdefault(Path(finding.path), []).append(finding)
    return found


def _report(
    console: Console,
    report: Report,
    output: str,
    statistics: bool,
    known: Path | None,
    settings: Settings,
) -> int:
    stale = 0
    if known is not None:
        report, stale = linter.new_findings(known, report, settings)
    findings = report.findings
    if statistics:
        for (code, name), count in sorted(
            Counter((f.code, f.name) for f in findings).items()
        ):
            click.echo(f"{count:6} {name} ({code})")
    elif console.is_terminal and output in _FOR_PEOPLE:
        _colored(console, findings, output)
    else:
        click.echo(linter.FORMATS[output](findings), nl=False)
    if output in _FOR_PEOPLE:
        fixable = sum(bool(finding.edits) for finding in findings)
        files = f"{report.files} file{'s' * (report.files != 1)}"
        said = f"{_count(len(findings))} in {files}"
        if fixable:
            said += f"; --fix cures {fixable}"
        if stale:
            said += f"; {stale} in the baseline are gone, write it anew"
        click.echo(said, err=True)
    return 1 if findings else 0


def _count(number: int) -> str:
    return f"{number or 'no'} finding{'s' * (number != 1)}"


def _colored(console: Console, findings: Sequence[Finding], output: str) -> None:
    """The same text as for a file, with the place, the rule and the mark in color."""
    for finding in findings:
        place = f"{finding.path}:{finding.line}:{finding.column}"
        link = f"link file://{os.path.abspath(finding.path)}"  # noqa: PTH100 - as typed
        text = Text.assemble((place, f"bold {link}"), ": ")
        text.append(finding.name, "bold red")
        text.append(f" ({finding.code})", "red")
        if output == "concise":
            console.print(text.append(f" {finding.message}", "default"))
            continue
        console.print(text)
        first, *rest = linter.FORMATS["full"]([finding]).split("\n")[1:-1]
        if rest and rest[0].strip().startswith("^"):
            console.print(Text(first))
            console.print(Text(rest[0], "yellow"))
            rest = rest[1:]
        else:
            console.print(Text(first))
        for line in rest:
            console.print(Text(line))
