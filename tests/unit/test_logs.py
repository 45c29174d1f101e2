"""The log as another process reads it: both forms, no values of variables, nothing of libraries below a warning."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

_PROGRAM = """
import logging, sys
import structlog
from agent.logs import configure_logging

configure_logging(sys.argv[1])
log = structlog.get_logger()
library = logging.getLogger("aiosmtpd.mail")


def fail():
    password = "hunter2-is-a-secret"
    raise ValueError("it went wrong")


log.info("call_opened", who="Анна", seconds=1.5, nothing=None)
log.debug("too_quiet")
log.info("hostile", subject="a\\nFAKE [error    ] intruder", escape="\\x1b[31mred\\x1b[0m", lone="\\ud800")
library.debug("LEAK debug")
library.info("LEAK info of %s", "a library")
library.warning("library %s\\nFAKE second line", "warns")
for logger in (log, library):
    try:
        fail()
    except ValueError:
        logger.exception("failed")
with structlog.contextvars.bound_contextvars(job="parse"):
    log.warning("inside")
"""


def run(log_format: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, log_format], capture_output=True, text=True, check=True, timeout=60
    )


@pytest.fixture(scope="module")
def text() -> str:
    return run("text").stderr


@pytest.fixture(scope="module")
def lines() -> list[dict[str, object]]:
    return [json.loads(line) for line in run("json").stderr.splitlines()]


def test_everything_goes_to_standard_error() -> None:
    assert run("text").stdout == run("json").stdout == ""


def test_text_has_events_with_their_fields(text: str) -> None:
    (line,) = (one for one in text.splitlines() if "call_opened" in one)
    assert "[info" in line
    assert "who=Анна" in line
    assert "seconds=1.5" in line
    assert "\x1b" not in text  # no colours where nobody sees them, and none of strangers


def test_no_field_begins_a_line_of_its_own(text: str) -> None:
    assert not [one for one in text.splitlines() if one.startswith("FAKE")]
    assert r"a\nFAKE" in text
    assert r"library warns\nFAKE" in text


def test_json_is_one_object_a_line_with_time_and_level(lines: list[dict[str, object]]) -> None:
    events = [one["event"] for one in lines]
    assert events == ["call_opened", "hostile", "library warns\nFAKE second line", "failed", "failed", "inside"]
    assert [one["level"] for one in lines] == ["info", "info", "warning", "error", "error", "warning"]
    for one in lines:
        assert datetime.fromisoformat(str(one["timestamp"])).utcoffset() == timedelta(0)
    assert lines[0] | {"timestamp": ""} == {
        "event": "call_opened",
        "level": "info",
        "timestamp": "",
        "who": "Анна",
        "seconds": 1.5,
        "nothing": None,
    }
    assert lines[-1]["job"] == "parse"


def test_libraries_are_silent_below_a_warning(text: str, lines: list[dict[str, object]]) -> None:
    assert "LEAK" not in text
    assert "LEAK" not in json.dumps(lines)
    assert "too_quiet" not in text


def test_an_exception_is_shown_without_the_values_of_variables(text: str, lines: list[dict[str, object]]) -> None:
    """The line of source may stand there, the frame's variables never."""
    for shown in (text, *(str(one["exception"]) for one in lines if "exception" in one)):
        assert "ValueError: it went wrong" in shown
        assert "hunter2" not in shown
    assert text.count("Traceback") == 2
    assert len([one for one in lines if "exception" in one]) == 2


def test_a_logger_outlives_the_standard_error_it_was_made_under() -> None:
    code = """
import io, sys
import structlog
from agent.logs import configure_logging

kept, sys.stderr = sys.stderr, io.StringIO()
configure_logging("text")
log = structlog.get_logger()
log.info("into_the_first")
first, sys.stderr = sys.stderr, kept
assert "into_the_first" in first.getvalue()
first.close()
log.info("into_the_second")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "into_the_second" in done.stderr and "into_the_first" not in done.stderr
