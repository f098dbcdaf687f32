"""The linter: finds the missing `ctx` and the scope that is never released.

`tether vet src` on the command line; `check(["src"])` here. It reads source only:
what the code imports need not be installed, and this folder imports nothing but itself
and the standard library. A map, in the order in which to read it:

    _finding _source _ignores      what is reported; files and their comments
    _function _module _names _flow one file: its parts, what names mean, the ways
    _libraries _waits _project     what is known about others, and across files
    _file _shapes _ours rules/     what a rule is given; the rules, one a file
    _settings _run                 which rules, which files, all cores
    _output _fix _baseline         what becomes of the findings
"""

from ._baseline import new as new_findings
from ._baseline import write as write_baseline
from ._finding import Finding as Finding
from ._finding import Rule as Rule
from ._fix import diff as diff
from ._fix import fixed as fixed
from ._output import FORMATS as FORMATS
from ._output import explain as explain
from ._run import Report as Report
from ._run import check as check
from ._run import check_text as check_text
from ._settings import Settings as Settings
from ._settings import UsageError as UsageError
from ._settings import load as load_settings
from ._settings import rule_of as rule_of
from .rules import ALL as ALL_RULES

__all__ = [
    "ALL_RULES",
    "FORMATS",
    "Finding",
    "Report",
    "Rule",
    "Settings",
    "UsageError",
    "check",
    "check_text",
    "diff",
    "explain",
    "fixed",
    "load_settings",
    "new_findings",
    "rule_of",
    "write_baseline",
]
