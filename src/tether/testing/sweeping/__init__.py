"""The sweep: an operation, ended at every place where it can be ended."""

from ._report import Finding as Finding
from ._report import Report as Report
from ._report import SweepError as SweepError
from ._report import Verdict as Verdict
from ._sweep import sweep as sweep
