"""A line's process of paper, for the tests of its keeper: ``python -m tests.unit.line_child``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from agent.sip.lines.words import ANSWERED, ENDED, KEY, READY, RECORDING, REGISTERED, RINGING, write_fact


def say(kind: str, **data: object) -> None:
    call = str(data.pop("call", ""))
    os.write(1, write_fact(kind, time.time(), call=call, **data))


def order() -> dict[str, object]:
    line = sys.stdin.buffer.readline()
    return dict(json.loads(line)) if line else {}


def main() -> None:
    """One call, recorded; then it waits for its end, or ends at once where the user is called ``dies``."""
    account = order()
    assert "secret" not in " ".join(sys.argv) and "hush" not in json.dumps(dict(os.environ))
    assert account["secret"] == "hush"
    os.write(1, b"not a fact\n{}\n")
    say(READY)
    say(REGISTERED, status=200, reason="OK")
    call = f"call-{os.getpid()}"
    say(RINGING, call=call, caller="+74950000001", callee="101")
    folder = str(order()["folder"])
    say(ANSWERED, call=call)
    if folder:
        Path(folder, "caller.wav").write_bytes(b"RIFF")
        say(RECORDING, call=call, side="caller", file="caller.wav")
    for digit in "*1":
        say(KEY, call=call, side="caller", digit=digit)
    if account["user"] == "dies":
        os._exit(7)
    while told := order():
        print(json.dumps(told), file=sys.stderr)
    say(ENDED, call=call, by="line", status=200, reason="")


if __name__ == "__main__":
    main()
