"""tether agrees with Go, and the runner notices where it would not."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tether
from tests.conformance import grammar
from tests.conformance.__main__ import VECTORS, main
from tests.conformance.vectors import read_folder

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def vectors(*names: str) -> list[dict[str, Any]]:
    texts = [
        (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8")
        for name in names or ("context", "errgroup", "waitgroup")
    ]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def write(folder: Path, *scenarios: object, name: str = "context") -> str:
    lines = "".join(json.dumps(scenario) + "\n" for scenario in scenarios)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return str(folder)


def scenario(*pairs: tuple[dict[str, Any], object]) -> dict[str, Any]:
    steps, expected = [step for step, _ in pairs], [result for _, result in pairs]
    return {"id": "planted", "tags": [], "steps": steps, "expected": expected}


def last_line(out: str) -> str:
    return out.splitlines()[-1]


def test_tether_agrees_with_go_in_threads_and_on_asyncio(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main([str(VECTORS)])
    out = capsys.readouterr().out
    played = read_folder(VECTORS)
    waiting = sum(item.waits for item in played)
    assert status == 0, out
    assert f"threads: {len(played)} passed, 0 failed\n" in out
    assert f"asyncio: {waiting} passed, 0 failed\n" in out
    assert f"do not wait: {len(played) - waiting} (by tag: after_func " in out
    assert last_line(out) == f"{len(played)} passed, 0 failed"
    assert waiting > 0


def test_no_thread_is_left_behind(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = [item for item in vectors("context") if "wait" in item["tags"]]
    for item in [*waiting[:20], *vectors("errgroup")[:20]]:
        assert main([str(VECTORS), "--only", item["id"]]) == 0
    names = [thread.name for thread in threading.enumerate()]
    ours = (
        "Group: ",
        "a call of",
        "waiter ",
        "after-function ",
        "function of ",
        "end of ",
        "watch",
    )
    assert not [name for name in names if name.startswith(ours)]


# Each takes a step and Go's result, and changes the result, or leaves it alone.
def _done(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "observe" and result[0][3] is False:
        result[0][3] = True


def _never_done(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "observe" and result[0][3] is None:
        result[0][3] = False


def _error(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "observe" and result[0][0] == "canceled":
        result[0][0] = "error:context canceled"


def _cause(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "observe" and result[0][1]:
        result[0][1] += "!"


def _deadline(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "observe" and result[0][2] is not None:
        result[0][2] += 1


def _event_time(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "advance" and result["ev"]:
        result["ev"][0][0] += 1


def _event_missing(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "settle" and result["ev"]:
        del result["ev"][0]


def _event_added(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "settle":
        result["ev"].append([0, "func", "f1", "", ""])


def _woken_by(step: dict[str, Any], result: Any) -> None:
    for event in result["ev"] if step["op"] == "advance" else ():
        if event[1] == "wait":
            event[3] = "max" if event[3] == "done" else "done"


def _clock(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "advance":
        result["now"] += 1


def _str(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "str" and "WithDeadline" in result["str"]:
        result["str"] = result["str"].replace("[", "[-")


def _value(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "value":
        result["value"] = "other"


def _stopped(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "stop":
        result["stopped"] = int(result["stopped"])


def _registered(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "registered":
        result["n"] += 1


def _count(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "count":
        result[0][0] += 1


def _go_returned(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "go" and result["t"]:
        result["t"] -= 1


def _try_go(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "try_go":
        result["ok"] = not result["ok"]


def _first_error(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "gwait" and result["err"]:
        result["err"] = ""


def _no_error(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "gwait" and not result["err"]:
        result["err"] = "context canceled"


def _group_waited(step: dict[str, Any], result: Any) -> None:
    if step["op"] in ("gwait", "wg_wait") and result["t"]:
        result["t"] += 1


def _saw(step: dict[str, Any], result: Any) -> None:
    for event in result.get("ev", ()) if isinstance(result, dict) else ():
        if event[1] == "end":
            event[4] = not event[4]


def _limit_panic(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "set_limit":
        result["panic"] = result["panic"].replace("while 1", "while 2")


def _counter_panic(step: dict[str, Any], result: Any) -> None:
    if step["op"] == "wg_done":
        result.clear()


def _panic_text(step: dict[str, Any], result: Any) -> None:
    if isinstance(result, dict) and result.get("panic") == "key is not comparable":
        result["panic"] = "nil key"


def _panic_gone(step: dict[str, Any], result: Any) -> None:
    if isinstance(result, dict) and "panic" in result:
        result.clear()


CHANGES = [
    _done,
    _never_done,
    _error,
    _cause,
    _deadline,
    _event_time,
    _event_missing,
    _event_added,
    _woken_by,
    _clock,
    _str,
    _value,
    _stopped,
    _registered,
    _count,
    _go_returned,
    _try_go,
    _first_error,
    _no_error,
    _group_waited,
    _saw,
    _limit_panic,
    _counter_panic,
    _panic_text,
    _panic_gone,
]


def plant(
    change: Callable[[dict[str, Any], Any], None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first vector that the change fits, as it is and with one result changed."""
    for original in vectors():
        changed = copy.deepcopy(original)
        for step, result in zip(changed["steps"], changed["expected"], strict=True):
            before = json.dumps(result)
            if result is not None:
                change(step, result)
            if json.dumps(result) != before:
                return original, changed
    raise AssertionError("no vector can be changed so")


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__[1:])
def test_a_changed_expectation_fails(
    change: Callable[[dict[str, Any], Any], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original, changed = plant(change)
    assert main([write(tmp_path, original)]) == 0
    assert last_line(capsys.readouterr().out) == "1 passed, 0 failed"
    assert main([write(tmp_path, changed)]) == 1
    out = capsys.readouterr().out
    assert last_line(out) == "0 passed, 1 failed"
    assert f"context.jsonl {changed['id']} [threads]\n  step " in out
    assert "\n    Go      " in out
    assert "\n    tether  " in out


def test_a_result_where_go_reports_nothing_fails(tmp_path: Path) -> None:
    made = {"op": "with_cancel", "as": "c1", "of": "bg"}
    assert main([write(tmp_path, scenario((made, None)))]) == 0
    assert main([write(tmp_path, scenario((made, {"panic": "nil key"})))]) == 1


def test_a_scenario_that_fails_in_both_ways_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = scenario(
        ({"op": "with_cancel", "as": "c1", "of": "bg"}, None),
        ({"op": "wait", "as": "w1", "ctx": "c1"}, None),
        ({"op": "cancel", "ctx": "c1"}, None),
        ({"op": "settle"}, {"ev": [[0, "wait", "w1", "done", "deadline exceeded"]]}),
    )
    assert main([write(tmp_path, planted)]) == 1
    out = capsys.readouterr().out
    assert "context.jsonl planted [threads]" in out
    assert "context.jsonl planted [asyncio]" in out
    assert last_line(out) == "0 passed, 1 failed"


def test_another_error_object_of_the_same_text_is_noticed() -> None:
    from tests.conformance.naming import Errors, NamedError

    errors = Errors()
    assert errors.text(errors.named("boom")) == "boom"
    assert errors.text(NamedError("boom")) != "boom"
    assert errors.code(errors.named("boom")) == "error:boom"
    assert errors.code(tether.Canceled()) == "canceled"
    assert errors.code(NamedError("context canceled")) != "canceled"


def test_objects_that_do_not_exist_yet_fail_clearly(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(grammar._NEEDS, "fly", "Wings")
    monkeypatch.setitem(grammar._NEEDS, "observe", "Context")
    flying = scenario(({"op": "fly"}, None))
    made = scenario(({"op": "with_cancel", "as": "c1", "of": "bg"}, None))
    looking = scenario(({"op": "observe", "ctx": "*"}, []))
    write(tmp_path, made)
    write(tmp_path, flying, flying | {"id": "more"}, name="wings")
    folder = write(tmp_path, looking, name="looks")
    assert main([folder]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("wings.jsonl: needs Wings, which tether does not have yet") == 1
    line = "looks.jsonl: needs Context, which this runner does not have yet"
    assert lines.count(line) == 1
    assert lines[-1] == "1 passed, 3 failed"


CANCEL: dict[str, Any] = {"op": "cancel", "ctx": "c9"}
MAKE: dict[str, Any] = {"op": "with_cancel", "as": "c1", "of": "bg"}

GO: dict[str, Any] = {"op": "go", "g": "g9", "task": {"id": "t1"}}
TASK_THAT_FLIES = {"task": {"id": "t1", "spawn": [{"id": "t2", "spawn": "fly"}]}}

BODY = {"op": "after_func", "as": "f1", "ctx": "bg", "do": [{"op": "fly"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "context.jsonl:1: bad JSON"),
        ("[]", "context.jsonl:1: not a scenario"),
        ('{"id": "a", "steps": [], "expected": []}', "(a): no list 'tags'"),
        (json.dumps(scenario((MAKE, None)) | {"expected": []}), "1 steps, but 0"),
        (json.dumps(scenario(({"op": "fly"}, None))), "step 1: unknown op 'fly'"),
        (json.dumps(scenario(({"op": "sleep", "ms": 1}, None))), "unknown op 'sleep'"),
        (json.dumps(scenario((BODY, None))), "step 1, do 1: unknown op 'fly'"),
        (json.dumps(scenario((MAKE | {"of": 1}, None))), "with_cancel: bad 'of': 1"),
        (json.dumps(scenario((MAKE | {"x": 1}, None))), "unknown field 'x'"),
        (json.dumps(scenario(({"op": "stop"}, None))), "stop: field 'fn' is missing"),
        (json.dumps(scenario((CANCEL, None))), "step 1: no context is named 'c9'"),
        (json.dumps(scenario((GO, None))), "step 1: no group is named 'g9'"),
        (json.dumps(scenario((GO | {"task": {}}, None))), "not a task with an id"),
        (json.dumps(scenario((GO | TASK_THAT_FLIES, None))), "bad 'spawn': 'fly'"),
        (
            "\n".join([json.dumps(scenario((MAKE, None)))] * 2),
            "context.jsonl:2 (planted): the id of line 1 again",
        ),
        ("", "no scenario in its files"),
    ],
)
def test_bad_vectors_are_told_apart_from_differences(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "context.jsonl").write_text(content, encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_vectors(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / name)]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_command_exits_with_the_status(status: int, tmp_path: Path) -> None:
    folder = write(tmp_path, scenario((MAKE, {"n": 1} if status == 1 else None)))
    if status == 2:
        folder += "x"
    source = str(Path(tether.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance", folder],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    if status < 2:
        assert last_line(done.stdout) == f"{1 - status} passed, {status} failed"
