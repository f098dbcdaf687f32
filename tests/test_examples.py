"""The examples of the pages, as the configuration of the repository runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parent.parent / "conftest.py"
PAGE = """
```python
class Resource:
    def __del__(self):
        raise ValueError("it was never closed")

resource = Resource()
```

```python
del resource
```

```python
assert False, "an example that is wrong"
```

```python
assert True
```
"""


def test_what_goes_wrong_in_a_finalizer_fails_its_example_and_no_other(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    (pytester.path / "README.md").write_text(PAGE, encoding="utf-8")
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        ["E * ValueError: it was never closed", "E *: an example that is wrong"]
    )
