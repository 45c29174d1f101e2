"""What the doctor says of the SMTP door."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from agent.doctor import examine
from agent.mail.smtp.check import check_door
from agent.settings import Settings
from agent.settings_smtp import SmtpSettings
from tests.certificates import Authority
from tests.postgres import PostgresForTests
from tests.unit.smtp_lab import MemoryIntake, door, settings


async def said(chosen: SmtpSettings, port: int, address: str = "127.0.0.1") -> list[tuple[str, str]]:
    return [*await asyncio.to_thread(lambda: list(check_door(chosen, address, port)))]


@pytest.mark.parametrize(
    ("more", "level", "words"),
    [
        ({}, "warning", "No address is named"),
        ({"journal": ["journal@"]}, "ok", "is refused"),
        ({"journal": ["journal@"], "catch_all": True}, "warning", "catch_all"),
    ],
)
async def test_whose_mail_is_taken(more: dict[str, object], level: str, words: str) -> None:
    intake = MemoryIntake()
    async with door(intake, **more) as server:
        first, second = await said(settings(**more), server.port, "0.0.0.0")
    assert first == ("ok", f"127.0.0.1 port {server.port} answers.")
    assert second[0] == level and words in second[1]
    assert intake.mails == []


async def test_a_door_that_takes_what_it_should_not() -> None:
    async with door(MemoryIntake()) as server:  # runs with other settings than the file has by now
        found = await said(settings(journal=["journal@"]), server.port)
    assert found[1][0] == "fault"


async def test_nobody_there_and_a_network_that_is_not_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert [level for level, _ in await said(settings(), port)] == ["fault"]
    async with door(MemoryIntake(), allow=["192.0.2.0/24"]) as server:
        assert [level for level, _ in await said(settings(), server.port)] == ["warning"]


async def test_the_doctor_looks_at_door_and_certificate(tmp_path: Path, postgres: PostgresForTests) -> None:
    pair = Authority(tmp_path / "ca").issue("mx", end=timedelta(days=10))
    smtp = {"journal": ["journal@"], "tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    chosen = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "database": {"url": await postgres.new_database()},
            "transcribe": {"enabled": False},
            "smtp": smtp,
        }
    )
    async with door(MemoryIntake(), **smtp) as server:
        chosen.data_dir.mkdir()
        announced = {"pid": os.getpid(), "smtp": ["127.0.0.1", server.port]}
        (chosen.data_dir / "service.json").write_text(json.dumps(announced))
        found = [(one.subject, one.level, one.text) for one in await examine(chosen)]
    assert ("mail door", "ok", f"127.0.0.1 port {server.port} answers, with STARTTLS.") in found
    assert ("mail door", "ok", "Mail for other addresses than yours is refused.") in found
    [(level, text)] = [(level, text) for subject, level, text in found if subject == "mail TLS"]
    assert level == "warning" and "smtp.tls_certificate" in text and "Renew it" in text
