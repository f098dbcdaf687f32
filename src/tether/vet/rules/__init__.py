"""The rules, one a file, in the order of their codes.

    1xx  the context is handed on          6xx  values
    2xx  waits know it                     7xx  detached work
    3xx  scopes are released               8xx  tests
    4xx  work is started in groups         9xx  in production
    5xx  loops notice

A file whose rule is missing below is found by a test.
"""

from __future__ import annotations

from .._finding import Rule
from . import (
    ctx101_fresh_root,
    ctx102_ctx_not_passed,
    ctx103_ctx_not_first,
    ctx104_none_as_ctx,
    ctx105_stored_ctx,
    ctx106_todo_left,
    ctx107_waits_without_ctx,
    ctx201_query_without_ctx,
    ctx202_no_time_limit,
    ctx203_unbounded_wait,
    ctx204_sleep_without_ctx,
    ctx205_abandoned_thread,
    ctx206_http_without_ctx,
    ctx301_lost_scope,
    ctx302_discarded_scope,
    ctx303_scope_without_with,
    ctx304_ctx_grows,
    ctx305_outer_ctx,
    ctx306_escaped_scope,
    ctx401_bare_task,
    ctx402_siblings_run_on,
    ctx403_group_not_waited,
    ctx404_lost_pending,
    ctx501_loop_without_ctx,
    ctx502_retry_past_end,
    ctx503_swallowed_cancel,
    ctx601_plain_key,
    ctx602_key_made_anew,
    ctx603_service_as_value,
    ctx604_mutable_value,
    ctx701_request_ctx_detached,
    ctx702_detached_without_limit,
    ctx703_dropped_work,
    ctx801_tests_without_leak_check,
    ctx802_real_sleep_in_test,
    ctx803_fresh_root_in_test,
    ctx901_open_debug_page,
    ctx902_no_signals,
    ctx903_shutdown_with_ended_ctx,
)

RULES: tuple[Rule, ...] = (
    ctx101_fresh_root.RULE,
    ctx102_ctx_not_passed.RULE,
    ctx103_ctx_not_first.RULE,
    ctx104_none_as_ctx.RULE,
    ctx105_stored_ctx.RULE,
    ctx106_todo_left.RULE,
    ctx107_waits_without_ctx.RULE,
    ctx201_query_without_ctx.RULE,
    ctx202_no_time_limit.RULE,
    ctx203_unbounded_wait.RULE,
    ctx204_sleep_without_ctx.RULE,
    ctx205_abandoned_thread.RULE,
    ctx206_http_without_ctx.RULE,
    ctx301_lost_scope.RULE,
    ctx302_discarded_scope.RULE,
    ctx303_scope_without_with.RULE,
    ctx304_ctx_grows.RULE,
    ctx305_outer_ctx.RULE,
    ctx306_escaped_scope.RULE,
    ctx401_bare_task.RULE,
    ctx402_siblings_run_on.RULE,
    ctx403_group_not_waited.RULE,
    ctx404_lost_pending.RULE,
    ctx501_loop_without_ctx.RULE,
    ctx502_retry_past_end.RULE,
    ctx503_swallowed_cancel.RULE,
    ctx601_plain_key.RULE,
    ctx602_key_made_anew.RULE,
    ctx603_service_as_value.RULE,
    ctx604_mutable_value.RULE,
    ctx701_request_ctx_detached.RULE,
    ctx702_detached_without_limit.RULE,
    ctx703_dropped_work.RULE,
    ctx801_tests_without_leak_check.RULE,
    ctx802_real_sleep_in_test.RULE,
    ctx803_fresh_root_in_test.RULE,
    ctx901_open_debug_page.RULE,
    ctx902_no_signals.RULE,
    ctx903_shutdown_with_ended_ctx.RULE,
)

# Reported by the run itself: they have no check of their own.
BROKEN = Rule(
    code="CTX001",
    name="broken-file",
    says="a file cannot be read, or is not valid Python",
    why="""\
The rest goes on without it. Nothing in the file was looked at. Code for a newer
Python than the one that runs the linter is not valid to it: run it with the newest
you use.""",
    bad="def f(:\n",
    good="def f(): ...\n",
    check=lambda _: iter(()),
)
UNUSED = Rule(
    code="CTX002",
    name="unused-ignore",
    says="a comment suppresses a finding that is not there",
    why="""\
A suppression that matches nothing any more hides the next finding in its line. Only
codes of rules that are switched on are judged. In `# tether: ignore[...]` a word that
is no rule's is reported as well: it suppresses nothing.""",
    bad="x = 1  # tether: ignore[lost-scope] the pool keeps it\n",
    good="x = 1\n",
    check=lambda _: iter(()),
    fixable=False,
)
ALL: tuple[Rule, ...] = (BROKEN, UNUSED, *RULES)
