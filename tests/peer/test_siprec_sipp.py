"""SIPp as the recording client: whole sessions over UDP and TCP, also with packets lost on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.model import Disposition
from tests.peers import require
from tests.unit.sip_peers import SCENARIOS, bench

CALLS = 40


async def run_sipp(address: tuple[str, int], folder: Path, *options: str) -> tuple[int, str]:
    """Exit code (0: every call went as the scenario says) and what SIPp complained of."""
    sipp = require("sipp")
    process = await asyncio.create_subprocess_exec(
        sipp,
        *(f"{address[0]}:{address[1]}", "-sf", str(SCENARIOS / "sipp_session.xml"), "-i", "127.0.0.1"),
        *("-m", str(CALLS), "-r", "40", "-nostdin", "-timeout", "60s", "-timeout_error"),
        *("-trace_err", "-error_file", str(folder / "errors.log"), *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
    )
    _, problems = await process.communicate()
    errors = folder / "errors.log"
    return process.returncode or 0, (errors.read_text() if errors.exists() else "") + problems.decode()


@pytest.mark.parametrize(
    "options",
    [("-t", "u1"), ("-t", "t1"), ("-t", "tn", "-max_socket", "500"), ("-t", "u1", "-lost", "10")],
    ids=["udp", "tcp", "tcp-each-call-its-own", "udp-with-loss"],
)
async def test_sipp_sessions(tmp_path: Path, options: tuple[str, ...]) -> None:
    async with bench(tmp_path / "data") as b:
        folder = tmp_path / "sipp"
        folder.mkdir()
        code, problems = await run_sipp(b.address, folder, *options)
        assert code == 0, problems
        calls = await b.ended(CALLS)
    assert {call.key for call in calls} == {f"sipp-recording-{number}" for number in range(1, CALLS + 1)}
    assert len(calls) == len({call.capture_id for call in calls}) == CALLS
    for call in calls:
        assert call.disposition is Disposition.ANSWERED and not call.truncated
        assert [(p.value, p.name, p.channel) for p in call.parties] == [("+74950000001", "", 0), ("101", "Example", 1)]
        assert len(call.details["streams"]) == 2
