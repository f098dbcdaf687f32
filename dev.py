"""Every chore of this repository. Python 3.11 or newer with pip is enough.

    python dev.py CHORE [--python X.Y] [ARGUMENTS]

    demo          run the shop
    test          run the tests; arguments go to pytest
    lint          ruff, the formatting, tether vet, the spelling
    types         mypy
    docs          build the pages into docs/_build
    bench         measure; arguments name what
    conformance   check against Go's recorded behavior; may name a folder
    ci            all of it but demo and bench, on every Python found

The first call makes .venv (with --python: .venv-X.Y) and installs what is needed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSIONS = [f"3.{minor}" for minor in range(11, 20)]

CHORES: dict[str, list[list[str]]] = {
    "demo": [["-m", "demo"]],
    "test": [["-m", "pytest"]],
    "lint": [
        ["-m", "ruff", "check"],
        ["-m", "ruff", "format", "--check"],
        ["-m", "tether", "vet", "src", "demo", "dev.py"],
        ["dev.py", "spelling"],
    ],
    "types": [["-m", "mypy"]],
    "docs": [["-m", "sphinx", "-n", "-W", "--keep-going", "-q", "docs", "docs/_build"]],
    "bench": [["-m", "bench"]],
    "conformance": [["-m", "tests.conformance"]],
}


def main(words: list[str]) -> int:
    """Do the chore named first; answer the exit status."""
    chore, *args = words or [""]
    if chore == "spelling":  # a part of lint; needs no environment
        return spelling()
    if chore not in {*CHORES, "ci"}:
        print(__doc__.strip())
        return 0 if chore in {"-h", "--help", "help"} else 2
    version = None
    if "--python" in args:
        at = args.index("--python")
        version = args[at + 1] if at + 1 < len(args) else ""
        del args[at : at + 2]
    try:
        python = prepare(version)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    if chore == "ci":
        return ci()
    if chore == "conformance":  # the folder is relative to the caller
        args = [
            arg if arg.startswith("-") else str(Path(arg).absolute()) for arg in args
        ]
    # A list, so that every command runs even when an earlier one failed.
    codes = [run(python, *command, *args) for command in CHORES[chore]]
    return max(codes, key=abs)


def run(python: Path, *args: str) -> int:
    """Run a command of the environment in the repository's folder."""
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen([python, *args], cwd=ROOT, env=env) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue  # the child got it too, and ends in its own way


# -- environments --------------------------------------------------------------------


class SetupError(Exception):
    """An environment could not be made; the message says why."""


def prepare(version: str | None) -> Path:
    """The interpreter of an environment in which everything is installed."""
    if version in {None, RUNNING}:
        folder = ROOT / ".venv"
        # Not sys.executable: called from inside .venv, that is about to be cleared.
        base = Path(getattr(sys, "_base_executable", sys.executable))
    else:
        folder = ROOT / f".venv-{version}"
        base = interpreter(str(version))
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed"
    wanted = fingerprint(base)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"setting up {folder.name} ({base})", flush=True)
    call(base, "-m", "venv", "--clear", "--without-pip", folder)
    # Debian's venv may lack ensurepip, so a pip from outside fills the environment;
    # an interpreter without pip has ensurepip. The pip that comes knows --group.
    newest = ["install", "-qq", "-c", "constraints.txt", "pip"]
    try:
        call(Path(sys.executable), "-m", "pip", "--python", python, *newest)
    except SetupError:
        call(python, "-m", "ensurepip")
        call(python, "-m", "pip", *newest)
    groups = ["--group", "dev", "--group", "bench"]
    call(python, "-m", "pip", "install", "-qq", "-c", "constraints.txt", *groups, "-e.")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def interpreter(version: str) -> Path:
    """The interpreter of this version, on the path or among pyenv's."""
    name = f"python{version}"
    homes = [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")]
    for folder in os.get_exec_path():
        found = shutil.which(name, path=folder)
        if found and works(Path(found), version):
            return Path(found)
        if found and Path(folder).name == "shims":
            homes.append(Path(folder).parent)  # a shim that refuses to choose
    for home in homes:
        for path in sorted(home.glob(f"versions/*/bin/{name}"), reverse=True):
            if works(path, version):
                return path
    raise SetupError(f"no {name} on the path or in {homes[0]}")


def works(python: Path, version: str) -> bool:
    """Whether this really is that interpreter (a shim may refuse to start)."""
    answer = subprocess.run([python, "-V"], capture_output=True, text=True, check=False)
    return answer.stdout.startswith(f"Python {version.rstrip('t')}.")


def fingerprint(base: Path) -> str:
    """All that an environment depends on; when it changes, it is made anew."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = {key: project[key] for key in ("project", "dependency-groups")}
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return json.dumps([str(base), RUNNING, parts, constraints], indent=1)


def call(python: Path, *args: str | Path) -> None:
    """Run a step of the setup; what it prints is shown only when it fails."""
    done = subprocess.run(
        [python, *args],
        cwd=ROOT,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        command = " ".join(map(str, [python, *args]))
        raise SetupError(f"{done.stdout}\nfailed: {command}")


# -- spelling ------------------------------------------------------------------------

WRONG = re.compile(r"cancell(?:ed|ing|er|able)", re.IGNORECASE)
# Names of others, in their spelling: asyncio, concurrent.futures, trio, anyio, gRPC.
# A line that must quote them otherwise ends in a comment "spelling: theirs".
THEIRS = re.compile(
    r"\bcancell(?:ed|ing)\(|\bimport .*\bcancelling\b"  # spelling: theirs
    r"|Task\.cancelling"  # spelling: theirs
    r"|CancelledError|trio\.Cancelled|\bCANCELLED\b"  # spelling: theirs
    r"|cancelled_caught|get_cancelled_exc_class|checkpoint_if_cancelled"
    r"|.*spelling: theirs"
)
FOLDERS = ("src", "tests", "demo", "bench", "docs")
SUFFIXES = {".py", ".md", ".toml", ".html", ".css", ".js"}


def spelling() -> int:
    """Complain about every 'canceled' with two l that is a word of ours."""
    files = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*")]
    found = 0
    for path in sorted([*ROOT.iterdir(), *files]):
        if path.suffix not in SUFFIXES or "_build" in path.parts or not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            for word in WRONG.findall(THEIRS.sub(" ", line)):
                print(f"{path.relative_to(ROOT)}:{number}: {word}: one l in our words")
                found += 1
    return 1 if found else 0


# -- everything ----------------------------------------------------------------------


@dataclass
class Step:
    """One chore of a full run."""

    title: str
    words: list[str]
    setup: Future[Path] | None = None
    code: int = 0
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0

    def do(self) -> None:
        """Run it as one would by hand, show its output and count its tests."""
        print(f"... {self.title}", flush=True)
        start = time.monotonic()
        output: list[str] = []
        try:
            if self.setup:
                self.setup.result()
            self.code = self.watch(output)
        except SetupError as error:
            output.append(f"{error}\n")
            self.code = 1
        self.seconds = time.monotonic() - start
        # A chore that counts nothing, or fails without a failed test, counts as one.
        if self.code and not self.failed:
            self.failed = 1
        elif not self.code and not self.passed:
            self.passed = 1
        # In one piece, for another one may be running beside it.
        head = f"\n=== {self.title} ===\n"
        tail = f"--- {self.title}: {self.result} in {self.seconds:.1f} s\n"
        print(head, *output, tail, sep="", end="", flush=True)

    def watch(self, output: list[str]) -> int:
        """Gather the output line by line; the last line with counts is the sum."""
        with subprocess.Popen(
            [sys.executable, ROOT / "dev.py", *self.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                output.append(line)
                counts = {k: int(n) for n, k in re.findall(r"(\d+) (\w+)", line)}
                if self.words[0] in {"test", "conformance"} and (
                    counts.keys() & {"passed", "failed", "error", "errors"}
                ):
                    self.passed = counts.get("passed", 0)
                    errors = counts.get("error", 0) + counts.get("errors", 0)
                    self.failed = counts.get("failed", 0) + errors
        return child.returncode

    @property
    def result(self) -> str:
        """The word for the summary."""
        return "FAILED" if self.code else "ok"


def ci() -> int:
    """Run every check, also after one has failed, and sum up."""
    others = []
    for version in VERSIONS:
        try:
            if version != RUNNING:
                interpreter(version)
                others.append(version)
        except SetupError:
            continue
    # The other environments are made one after the other while the first steps run. Two
    # steps run at a time: the tests wait as much as they compute. In halves, so that at
    # the end nobody works alone.
    with ThreadPoolExecutor(1) as setups, ThreadPoolExecutor(2) as pool:
        made = {v: setups.submit(prepare, v) for v in others}
        steps = [
            *_tests(RUNNING, ["test"], None),
            Step("lint", ["lint"]),
            Step("types", ["types"]),
            *(
                step
                for v, setup in made.items()
                for step in _tests(v, ["test", "--python", v], setup)
            ),
            Step("conformance", ["conformance"]),
            Step("docs", ["docs"]),
        ]
        for done in [pool.submit(step.do) for step in steps]:
            done.result()
    print("\n=== summary ===")
    for step in steps:
        print(f"{step.title:34}{step.result:8}{step.seconds:6.1f} s")
    passed, failed = sum(s.passed for s in steps), sum(s.failed for s in steps)
    print(f"{passed} passed, {failed} failed")
    return 1 if any(step.code for step in steps) else 0


def _tests(version: str, words: list[str], setup: Future[Path] | None) -> list[Step]:
    title = f"test on Python {version}"
    return [
        Step(f"{title}: libraries", [*words, "tests/ext"], setup),
        Step(f"{title}: the rest", [*words, "--ignore=tests/ext"], setup),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
