"""Write the page of the rules anew: python -m tests.vet.rules_page."""

from __future__ import annotations

from tests.vet.test_same_codes import ROOT, page

if __name__ == "__main__":
    (ROOT / "docs/reference/vet.md").write_text(page(), encoding="utf-8")
