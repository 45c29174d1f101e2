"""The doctor on installations in every state, with a real database and a real web server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from agent.archive.keys import KeyRing
from agent.doctor import Finding, examine
from agent.model import SourceState
from agent.settings import Settings
from agent.store import sources
from agent.store.engine import Store
from tests.certificates import Authority
from tests.postgres import PostgresForTests
from tests.unit.commands import Installation


@pytest.fixture
async def url(postgres: PostgresForTests) -> str:
    return await postgres.new_database()


@pytest.fixture
async def page() -> AsyncIterator[BaseTestServer]:
    """Answers as the service does at /healthz, and 503 below /broken."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503 if request.path.startswith("/broken") else 200)

    app = web.Application()
    app.router.add_get("/healthz", answer)
    app.router.add_get("/broken/healthz", answer)
    async with TestServer(app) as server:
        yield server


def settings(folder: Path, url: str, **more: object) -> Settings:
    given: dict[str, object] = {
        "data_dir": folder / "data",
        "database": {"url": url},
        "transcribe": {"enabled": False},
        **more,
    }
    return Settings.model_validate(given)


async def test_a_disk_without_room_is_a_fault(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, free = shutil.disk_usage(tmp_path), {"fault": 100 * 1024**2, "warning": 3 * 1024**3, "ok": 50 * 1024**3}
    for level, room in free.items():
        monkeypatch.setattr(shutil, "disk_usage", lambda _, room=room: real._replace(free=room))
        found = by_subject(await examine(settings(tmp_path, url)))["disk"]
        assert (found.level, "Give it more room" in found.text) == (level, level != "ok")


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    found = {one.subject: one for one in findings}
    assert len(found) == len(findings) or "pages" in found
    return found


async def test_a_fresh_installation_lacks_nothing_but_advice(tmp_path: Path, url: str) -> None:
    found = by_subject(await examine(settings(tmp_path, url)))
    assert {one.level for one in found.values()} <= {"ok", "warning"}
    assert found["database"].text == "PostgreSQL, your own, answers and has the right tables."
    assert "keys show" in found["keys"].text
    assert "web.public_url is empty" in found["pages"].text
    assert found["service"].text.startswith("not running")


async def test_confirmed_keys_are_no_warning(tmp_path: Path, url: str) -> None:
    chosen = settings(tmp_path, url)
    ring = KeyRing.open_or_create(chosen.data_dir / "keys")
    ring.confirm(ring.check_code())
    assert by_subject(await examine(chosen))["keys"].level == "ok"


async def test_a_key_that_others_can_read_is_a_fault(tmp_path: Path, url: str) -> None:
    chosen = settings(tmp_path, url)
    KeyRing.open_or_create(chosen.data_dir / "keys")
    (chosen.data_dir / "keys" / "master-0001.key").chmod(0o644)
    found = by_subject(await examine(chosen))["keys"]
    assert found.level == "fault"
    assert "chmod 600" in found.text


async def test_a_data_directory_that_cannot_be_is_said_once(tmp_path: Path, url: str) -> None:
    (tmp_path / "data").touch()
    (found,) = await examine(settings(tmp_path, url))
    assert (found.subject, found.level) == ("data directory", "fault")
    assert "Give data_dir a folder that this user may write." in found.text


async def test_a_database_that_is_away_is_a_fault_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        secret = "hunter2-is-a-secret"
        away = f"postgresql://cardline:{secret}@127.0.0.1:{taken.getsockname()[1]}/cardline"
        found = by_subject(await examine(settings(tmp_path, away)))
    assert found["database"].level == "fault"
    assert "Check that the database server runs" in found["database"].text
    assert {"keys", "speech", "pages", "service"} <= set(found)
    assert secret not in repr(found)


async def test_sources_stand_there_with_their_trouble(tmp_path: Path, url: str) -> None:
    store = Store(url)
    async with store.begin() as connection:
        await sources.save_status(connection, "smtp", SourceState.RUNNING)
        await sources.save_status(connection, "imap:Anna", SourceState.LOGIN_FAILED, "Check user and password.")
    await store.close()
    found = by_subject(await examine(settings(tmp_path, url)))
    assert found["smtp"].level == "ok"
    assert (found["imap:Anna"].level, found["imap:Anna"].text) == ("fault", "login failed Check user and password.")


async def test_pages_that_answer(tmp_path: Path, url: str, page: BaseTestServer) -> None:
    address = str(page.make_url("/"))
    said = [
        one for one in await examine(settings(tmp_path, url, web={"public_url": address})) if one.subject == "pages"
    ]
    assert [one.level for one in said] == ["warning", "ok"]
    assert "is not HTTPS" in said[0].text
    assert said[1].text == f"{address.rstrip('/')} answers."


@pytest.mark.parametrize("path", ["/broken", "/missing"])
async def test_pages_that_answer_with_a_fault(path: str, tmp_path: Path, url: str, page: BaseTestServer) -> None:
    chosen = settings(tmp_path, url, web={"public_url": str(page.make_url(path))})
    said = [one for one in await examine(chosen) if one.subject == "pages"]
    assert said[-1].level == "fault"
    assert "answers 503" in said[-1].text or "answers 404" in said[-1].text


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_pages_that_do_not_answer(scheme: str, tmp_path: Path, url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"
        findings = await examine(settings(tmp_path, url, web={"public_url": address}))
    said = [one for one in findings if one.subject == "pages"]
    assert said[-1].level == "fault"
    assert "does not answer" in said[-1].text
    assert "reverse proxy" in said[-1].text


@pytest.mark.parametrize("address", ["https://", "https://[::1", "https://exa mple.com"])
async def test_an_address_that_is_none_is_a_fault_too(address: str, tmp_path: Path, url: str) -> None:
    said = [
        one for one in await examine(settings(tmp_path, url, web={"public_url": address})) if one.subject == "pages"
    ]
    assert said[-1].level == "fault"


@pytest.mark.parametrize(
    ("begin", "end", "level", "words"),
    [
        (-90, 60, "ok", "is good until"),
        (-90, 31, "ok", "is good until"),
        (-90, 29, "warning", "in 28 days. Renew it"),
        (-90, -1, "fault", "expired on"),
        (1, 90, "fault", "on only"),
    ],
)
async def test_certificates_that_run_out(
    begin: int, end: int, level: str, words: str, tmp_path: Path, url: str
) -> None:
    pair = Authority(tmp_path).issue("server", begin=timedelta(days=begin), end=timedelta(days=end))
    siprec = {"tls_certificate": pair.certificate, "tls_key": pair.key}
    found = by_subject(await examine(settings(tmp_path, url, siprec=siprec)))["TLS"]
    assert found.level == level
    assert words in found.text
    assert "siprec.tls_certificate" in found.text


async def test_an_authority_of_clients_that_runs_out_and_a_chain(tmp_path: Path, url: str) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    pair = new.issue("server", end=timedelta(days=300))
    pair.certificate.write_bytes(pair.certificate.read_bytes() + new.certificate.read_bytes())
    siprec = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": old.certificate}
    found = [one for one in await examine(settings(tmp_path, url, siprec=siprec)) if one.subject == "TLS"]
    assert [one.level for one in found] == ["warning", "warning"], "the chain is as good as its first to end"
    assert "siprec.tls_client_ca" in found[1].text


@pytest.mark.parametrize("what", ["other key", "no key", "gone", "garbage"])
async def test_certificates_that_cannot_be_used(what: str, tmp_path: Path, url: str) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server", end=timedelta(days=300))
    siprec: dict[str, object] = {"tls_certificate": pair.certificate, "tls_key": pair.key}
    if what == "other key":
        siprec["tls_key"] = authority.issue("other").key
    elif what == "no key":
        del siprec["tls_key"]
    elif what == "gone":
        pair.certificate.unlink()
    else:
        pair.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    found = by_subject(await examine(settings(tmp_path, url, siprec=siprec)))["certificates"]
    assert found.level == "fault"
    assert "siprec.tls_certificate" in found.text


async def test_the_certificate_of_the_pages_is_looked_at(tmp_path: Path) -> None:
    """Behind the name that people use, so whoever ends HTTPS there."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    authority = Authority(tmp_path)
    pair = authority.issue("proxy", end=timedelta(days=10, hours=1))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    app = web.Application()
    app.router.add_get("/healthz", answer)
    server = TestServer(app, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=context)
    try:
        public = str(server.make_url("/")).rstrip("/")
        told = await Installation(tmp_path).run(
            "doctor", COLUMNS="300", SSL_CERT_FILE=str(authority.certificate), CARDLINE_WEB__PUBLIC_URL=public
        )
    finally:
        await server.close()
    assert f"{public} answers." in told.out
    assert f"The certificate of {public} expires on" in told.out
    assert "in 10 days. Renew it at the reverse proxy." in told.out


async def test_a_service_that_runs_and_one_that_was_killed(tmp_path: Path, url: str) -> None:
    chosen = settings(tmp_path, url)
    await examine(chosen)
    announced = chosen.data_dir / "service.json"
    for pid, level in ((os.getpid(), "ok"), (2**22 + 1, "warning")):
        announced.write_text(json.dumps({"pid": pid, "web": ["127.0.0.1", 8040]}))
        assert by_subject(await examine(chosen))["service"].level == level
    for broken in ("", "[]", "{}", '{"pid": "x"}', "null"):
        announced.write_text(broken)
        assert by_subject(await examine(chosen))["service"].level == "warning"


async def test_the_command_on_a_fresh_embedded_installation_and_beside_its_service(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    fresh = await installation.run("doctor", COLUMNS="200")
    assert fresh.code == 0, fresh
    assert "PostgreSQL, embedded, answers" in fresh.out
    assert "not running. Start it with `cardline run`." in fresh.out
    async with installation.service():
        beside = await installation.run("doctor", COLUMNS="200")
    assert beside.code == 0, beside
    assert "running, listening on" in beside.out
    assert "smtp 127.0.0.1:" in beside.out


async def test_the_command_shows_brackets_and_exits_1_at_a_fault(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        address = f"http://[::1]:{taken.getsockname()[1]}"
        installation = Installation(tmp_path)
        done = await installation.run("doctor", COLUMNS="300", CARDLINE_WEB__PUBLIC_URL=address)
    assert done.code == 1
    assert f"{address} does not answer" in done.out
    assert "Traceback" not in done.err
