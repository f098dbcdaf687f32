"""The weak list of live scopes and groups."""

from __future__ import annotations

import gc
import weakref

from tether import Group, Scope, Signal, WaitGroup, background
from tether._crew import Crew
from tether._live import Live


def test_it_has_what_was_made_while_it_was_open() -> None:
    before = background().with_cancel()
    with Live(lambda: "noted") as live:
        scope = background().with_timeout(1.0)
        group, waitgroup = Group(background()), WaitGroup(background())
        inner = group.ctx.with_cancel()
    after = background().with_cancel()
    scopes = live.alive(Scope)
    assert {id(one) for one in scopes} == {
        id(one) for one in (scope, group.ctx, waitgroup.ctx, inner)
    }
    assert live.noted(Group) == [(group, "noted")]
    assert live.noted(WaitGroup) == [(waitgroup, "noted")]
    group.wait()
    waitgroup.wait()
    for one in (before, scope, inner, after):
        one.cancel()


def test_it_keeps_nothing_alive() -> None:
    with Live(lambda: None) as live:
        with background().with_cancel() as scope:
            assert live.noted(Scope) == [(scope, None)]
        del scope
        gc.collect()
        assert live.alive(Scope) == []


def test_two_are_told_and_closing_one_leaves_the_other() -> None:
    with Live(lambda: 1) as first:
        with Live(lambda: 2) as second, background().with_cancel() as scope:
            assert first.noted(Scope) == [(scope, 1)]
            assert second.noted(Scope) == [(scope, 2)]
        with background().with_cancel() as scope:
            assert (scope, 1) in first.noted(Scope)
            assert (scope, 2) not in second.noted(Scope)


def test_it_adopts_what_is_older_once() -> None:
    class Team(Group):
        pass

    team = Team(background())
    with background().with_cancel() as older, Live(lambda: None) as live:
        dead = weakref.proxy(Signal())  # to ask it for its class is an error
        live.adopt(Scope, Crew)
        live.adopt(Scope)
        assert type(dead) is weakref.ProxyType
        assert live.alive(Scope).count(older) == 1
        assert live.alive(Crew) == [team]
        assert not [one for one in live.alive(object) if isinstance(one, type | list)]
        team.wait()
