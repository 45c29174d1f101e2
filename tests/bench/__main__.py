"""``python -m tests.bench [name …]``: run benchmarks, without a name all; the last line of each is its result."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict

from tests.bench.result import Result

BENCHMARKS = (
    "record", "assemble", "call-setup", "mail-first-pass", "mail-smtp", "verify", "import", "notifications",
    "link",
    "attachment-words", "outbox", "pages", "listeners", "speech", "live-speech",
)  # fmt: skip
_MODULES = {"import": "import_recordings"}  # where the name is none for a module


def main(names: list[str]) -> int:
    """Run them; 1 if one of them does not reach its goal."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"No such benchmark: {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    missed = False
    for name in names or BENCHMARKS:
        module = _MODULES.get(name, name.replace("-", "_"))
        result: Result = importlib.import_module(f"tests.bench.{module}").run()
        print(json.dumps({key: value for key, value in asdict(result).items() if key != "details" or value}))
        missed = missed or not result.holds
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
