"""`make soak` by its parts is all of the soak: a file that is in no part would never be run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_with_a_soak_is_in_a_part() -> None:
    makefile = (ROOT / "Makefile").read_text()
    parts = re.search(r"^PART \?= (.*)$", makefile, re.MULTILINE)
    assert parts is not None
    named = " ".join(re.findall(r"^SOAK_[a-z]+ := (.*)$", makefile, re.MULTILINE)).split()
    assert set(re.findall(r"^SOAK_([a-z]+) :=", makefile, re.MULTILINE)) == set(parts[1].split())
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.soak" in path.read_text()]
    missing = [path for path in marked if not any(path.is_relative_to(ROOT / one) for one in named)]
    assert [str(path.relative_to(ROOT)) for path in missing] in ([], ["tests/unit/test_soak_parts.py"])
