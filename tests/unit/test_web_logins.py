"""Logging in: attempts counted for all processes, the second factor, open logins, passwords, invitations."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from sqlalchemy import delete, select, update

from agent.archive.blobs import Archive
from agent.store import accounts, invitations, logins, secondfactors
from agent.store.attempts import CODE_LIMITS, Attempts
from agent.store.engine import Store
from agent.store.schema import account, account_invitation, audit_entry, login_attempt, login_session
from agent.web import totp
from agent.web.app import WebServer
from agent.web.qrcode import qr_code
from tests.unit.web_pages import A, M, cut_out
from tests.web_world import PASSWORD, Browser, serve, settings_for


@pytest.fixture(scope="module")
async def server(store: Store, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebServer]:
    settings = settings_for(tmp_path_factory.getbasetemp(), require_totp_for=("administrator",))
    server = await serve(store, archive, settings, cut_out)
    yield server
    await server.stop()


@pytest.fixture
async def browse(server: WebServer) -> AsyncIterator[Callable[[], Browser]]:
    """Browsers that are closed at the end."""
    made: list[Browser] = []

    def new() -> Browser:
        made.append(Browser(server))
        return made[-1]

    yield new
    for one in made:
        await one.close()


@pytest.fixture
async def person(store: Store) -> AsyncIterator[tuple[int, str]]:
    """A manager of his own for each test, and no attempts before it."""
    login = f"person-{time.monotonic_ns()}"
    async with store.begin() as connection:
        await connection.execute(delete(login_attempt))
        number = await accounts.insert_account(connection, login, "Павел", PASSWORD, M)
    yield number, login


def _secret_in(text: str) -> bytes:
    import base64

    (found,) = re.findall(r'<code class="secret">([A-Z2-7 ]+)</code>', text)
    return base64.b32decode(found.replace(" ", ""))


def _now_code(secret: bytes, steps: int = 0) -> str:
    return totp.code_at(secret, int(time.time()) // totp.STEP_SECONDS + steps)


async def _post(browser: Browser, path: str, at: str, **form: str) -> tuple[int, str, str]:
    form["csrf"] = await browser.token(at)
    async with browser.http.post(path, data=form, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", ""), await answer.text()


# --- Codes ------------------------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B, for SHA-1, shortened to six digits."""
    secret = b"12345678901234567890"
    for seconds, code in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
        assert totp.code_at(secret, seconds // 30) == code
        assert totp.find_step(secret, code, seconds) == seconds // 30
        assert totp.find_step(secret, code, seconds + 30) == seconds // 30
        assert totp.find_step(secret, code, seconds + 61) is None
    assert totp.find_step(secret, "", 59) is None
    assert totp.find_step(secret, "०००००0", 59) is None
    assert totp.plain_code(" 28 70-82 ") == "287082"
    assert totp.address(secret, "анна@x").startswith("otpauth://totp/Cardline:%D0%B0")
    assert len(set(totp.new_recovery_codes())) == 10


# --- Attempts ---------------------------------------------------------------------------------------------------------


async def test_attempts_count_by_pair_address_and_name_in_all_processes(store: Store) -> None:
    async with store.begin() as connection:
        await connection.execute(delete(login_attempt))
        one, other = Attempts(b"key"), Attempts(b"key")
        for number in range(8):
            assert await (one, other)[number % 2].begin(connection, "192.0.2.1", "anna")
        assert not await one.begin(connection, "192.0.2.1", "anna")
        assert not await other.begin(connection, "192.0.2.1", "anna")
        assert await one.begin(connection, "192.0.2.2", "anna")
        for number in range(42):
            assert await one.begin(connection, "192.0.2.1", f"guess {number}")
        assert not await one.begin(connection, "192.0.2.1", "ivan")
        past = datetime.now(UTC) - timedelta(minutes=11)
        await connection.execute(update(login_attempt).values(at=past))
        assert await one.begin(connection, "192.0.2.1", "anna")
        kept = (await connection.execute(select(login_attempt.c.key))).scalars().all()
        assert len(kept) == 3, "what is old is swept away"
        assert b"anna" not in b"".join(kept)


async def test_a_success_forgives_the_person_and_not_the_address(store: Store) -> None:
    async with store.begin() as connection:
        await connection.execute(delete(login_attempt))
        attempts = Attempts(b"key")
        for _ in range(60):
            assert await attempts.begin(connection, "192.0.2.1", "anna")
            await attempts.succeeded(connection, "192.0.2.1", "anna")
        for number in range(49):
            assert await attempts.begin(connection, "192.0.2.1", f"guess {number}")
        assert await attempts.begin(connection, "192.0.2.1", "anna")
        await attempts.succeeded(connection, "192.0.2.1", "anna")
        assert await attempts.begin(connection, "192.0.2.1", "ivan")
        assert not await attempts.begin(connection, "192.0.2.1", "anna")


async def test_many_attempts_at_once_do_not_slip_through(store: Store) -> None:
    async with store.begin() as connection:
        await connection.execute(delete(login_attempt))

    async def attempt() -> bool:
        async with store.begin() as connection:
            return await Attempts(b"key").begin(connection, "192.0.2.9", "anna")

    assert sum(await asyncio.gather(*(attempt() for _ in range(15)))) == 8


async def test_an_ipv6_network_is_one_address_and_codes_have_limits_of_their_own(store: Store) -> None:
    async with store.begin() as connection:
        await connection.execute(delete(login_attempt))
        attempts = Attempts(b"key")
        for number in range(8):
            assert await attempts.begin(connection, f"2001:db8::{number:x}", "anna")
        assert not await attempts.begin(connection, "2001:db8::ffff", "anna")
        assert await attempts.begin(connection, "2001:db8:0:1::1", "anna")
        codes = Attempts(b"key", subject="code", limits=CODE_LIMITS)
        for number in range(20):
            assert await codes.begin(connection, f"192.0.2.{number}", "anna")
        assert not await codes.begin(connection, "192.0.2.99", "anna")


# --- Second factor ----------------------------------------------------------------------------------------------------


async def _enrol(browser: Browser) -> tuple[bytes, list[str], str]:
    """Secret, recovery codes, and the code that was used for it, one step old."""
    status, _, text = await _post(browser, "/me/second-factor", "/me", password=PASSWORD)
    assert status == 200
    secret = _secret_in(text)
    used = _now_code(secret, -1)
    status, _, text = await _post(browser, "/me/second-factor/confirm", "/me", code=used)
    assert status == 200
    return secret, re.findall(r"<code>([a-z2-7]{5}-[a-z2-7]{5})</code>", text), used


async def test_the_key_of_a_second_factor_is_drawn_for_a_telephone(
    browse: Callable[[], Browser], person: tuple[int, str]
) -> None:
    browser = browse()
    await browser.log_in(person[1])
    _, _, text = await _post(browser, "/me/second-factor", "/me", password=PASSWORD)
    (address,) = re.findall(r'href="(otpauth://[^"]+)"', text)
    ((picture, label),) = re.findall(r'(<svg role="img" aria-label="([^"]+)".*?</svg>)', text)
    assert picture == qr_code(unescape(address), label)
    assert "style=" not in picture, "the policy of the pages forbids it"


async def test_a_second_factor_is_asked_for_and_each_code_counts_once(
    browse: Callable[[], Browser], person: tuple[int, str], store: Store
) -> None:
    number, login = person
    first = browse()
    assert await first.log_in(login) == 303
    secret, codes, used = await _enrol(first)
    assert len(codes) == 10
    second = browse()
    assert await second.log_in(login) == 303
    assert (await second.get("/cards"))[0] == 303, "the password alone opens nothing"
    assert (await second.get("/events"))[0] == 303
    assert (await second.get("/login/second-factor"))[0] == 303, "nor does it set up another factor"
    assert (await _post(second, "/login/code", "/login/code", code="12345"))[0] == 403
    assert (await _post(second, "/login/code", "/login/code", code=used))[0] == 403, "it has confirmed the factor"
    code = _now_code(secret)
    waiting = {one.key: one.value for one in second.http.cookie_jar}["cardline_session"]
    status, place, _ = await _post(second, "/login/code?next=%2Flive", "/login/code", code=f"{code[:3]} {code[3:]}")
    assert (status, place) == (303, "/live")
    assert (await second.get("/cards"))[0] == 200
    assert {one.key: one.value for one in second.http.cookie_jar}["cardline_session"] != waiting
    async with store.begin() as connection:
        assert await logins.find_login(connection, waiting) is None, "the token of before opens nothing"
    third = browse()
    assert await third.log_in(login) == 303
    status, _, _ = await _post(third, "/login/code", "/login/code", code=code)
    assert status == 403, "a code that was used in another window"
    status, _, _ = await _post(third, "/login/code", "/login/code", code=codes[3].upper())
    assert status == 303
    async with store.begin() as connection:
        factor = await secondfactors.find_factor(connection, number)
        assert factor is not None
        assert factor.recovery_codes == 9
        assert secret not in factor.sealed, "the database alone makes no codes"
        assert not await secondfactors.use_recovery_code(connection, number, totp.plain_code(codes[3]))


async def test_guessing_codes_is_stopped(browse: Callable[[], Browser], person: tuple[int, str]) -> None:
    _, login = person
    first = browse()
    assert await first.log_in(login) == 303
    secret, *_ = await _enrol(first)
    thief = browse()
    assert await thief.log_in(login) == 303
    statuses = [(await _post(thief, "/login/code", "/login/code", code=f"{guess:06}"))[0] for guess in range(1, 10)]
    assert statuses[:8] == [403] * 8
    assert statuses[8] == 429
    assert (await _post(thief, "/login/code", "/login/code", code=_now_code(secret)))[0] == 429


async def test_a_role_that_must_have_one_sets_it_up_at_the_login(browse: Callable[[], Browser], store: Store) -> None:
    async with store.begin() as connection:
        await accounts.insert_account(connection, "strict", "Строгая", PASSWORD, A)
    browser = browse()
    assert await browser.log_in("strict") == 303
    assert (await browser.get("/accounts"))[0] == 303
    assert (await browser.get("/login/code"))[0] == 303
    _, text = await browser.get("/login/second-factor")
    secret = _secret_in(text)
    assert _secret_in((await browser.get("/login/second-factor"))[1]) == secret, "reloading does not change it"
    assert (await _post(browser, "/login/second-factor", "/login/second-factor", code="123"))[0] == 403
    status, _, text = await _post(browser, "/login/second-factor", "/login/second-factor", code=_now_code(secret))
    assert status == 200
    assert (await browser.get("/accounts"))[0] == 200
    assert (await _post(browser, "/me/second-factor/remove", "/me", code=_now_code(secret, 1)))[0] == 403
    again = browse()
    assert await again.log_in("strict") == 303
    assert (await again.get("/login/second-factor"))[0] == 303
    assert (await again.get("/login/code"))[0] == 200


async def test_switching_it_on_and_off_asks_for_proof(
    browse: Callable[[], Browser], person: tuple[int, str], store: Store
) -> None:
    number, login = person
    browser, other = browse(), browse()
    assert await browser.log_in(login) == 303
    assert await other.log_in(login) == 303
    assert (await _post(browser, "/me/second-factor", "/me", password="wrong password"))[0] == 400
    assert (await _post(browser, "/me/second-factor/confirm", "/me", code="123456"))[0] == 400
    secret, codes, _ = await _enrol(browser)
    assert (await other.get("/cards"))[0] == 303, "logins of before know no factor"
    assert (await _post(browser, "/me/second-factor", "/me", password=PASSWORD))[0] == 303, "it has one"
    assert (await _post(browser, "/me/second-factor/codes", "/me", code="nonsense"))[1].startswith("/me?problem=")
    status, _, text = await _post(browser, "/me/second-factor/codes", "/me", code=codes[0])
    assert status == 200
    newer = re.findall(r"<code>([a-z2-7]{5}-[a-z2-7]{5})</code>", text)
    assert not set(newer) & set(codes)
    assert (await _post(browser, "/me/second-factor/remove", "/me", code=codes[1]))[1].startswith("/me?problem=")
    assert (await _post(browser, "/me/second-factor/remove", "/me", code=_now_code(secret)))[1].startswith("/me?done")
    async with store.begin() as connection:
        assert await secondfactors.find_factor(connection, number) is None
        acts = (
            await connection.execute(select(audit_entry.c.action).where(audit_entry.c.account_id == number))
        ).scalars()
        assert {"second_factor_added", "second_factor_removed", "recovery_codes_renewed"} <= set(acts)


async def test_forms_of_the_second_step_want_their_token(
    browse: Callable[[], Browser], person: tuple[int, str]
) -> None:
    _, login = person
    first, second = browse(), browse()
    assert await first.log_in(login) == 303
    secret, *_ = await _enrol(first)
    assert await second.log_in(login) == 303
    async with second.http.post("/login/code", data={"code": _now_code(secret), "csrf": "x"}) as answer:
        assert answer.status == 403
    async with browse().http.post("/login/code", data={"code": _now_code(secret)}, allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/login"


# --- Passwords and open logins ----------------------------------------------------------------------------------------


async def test_whoever_knows_his_password_changes_it_and_is_logged_out_elsewhere(
    browse: Callable[[], Browser], person: tuple[int, str]
) -> None:
    _, login = person
    here, there = browse(), browse()
    assert await here.log_in(login) == 303
    assert await there.log_in(login) == 303
    new = "another long password"
    for form, expected in (
        ({"password": "wrong", "wanted": new, "again": new}, 400),
        ({"password": PASSWORD, "wanted": new, "again": new + "x"}, 400),
        ({"password": PASSWORD, "wanted": "short", "again": "short"}, 400),
        ({"password": PASSWORD, "wanted": new, "again": new}, 303),
    ):
        assert (await _post(here, "/me/password", "/me", **form))[0] == expected
    assert (await here.get("/cards"))[0] == 200
    assert (await there.get("/cards"))[0] == 303
    assert await there.log_in(login) == 403
    assert await there.log_in(login, new) == 303


async def test_guessing_the_present_password_is_stopped_too(
    browse: Callable[[], Browser], person: tuple[int, str]
) -> None:
    _, login = person
    browser = browse()
    assert await browser.log_in(login) == 303
    statuses = [
        (await _post(browser, "/me/password", "/me", password=f"guess {n}", wanted="x" * 9, again="x" * 9))[0]
        for n in range(9)
    ]
    assert statuses == [400] * 8 + [429]
    assert (await _post(browser, "/me/second-factor", "/me", password=PASSWORD))[0] == 429


async def test_one_sees_and_ends_ones_own_logins_and_nobody_elses(
    browse: Callable[[], Browser], person: tuple[int, str], store: Store
) -> None:
    number, login = person
    async with store.begin() as connection:
        other = await accounts.insert_account(connection, f"{login}-2", "Другой", PASSWORD, M)
        foreign = await logins.open_login(connection, other, address="192.0.2.5")
        (theirs,) = await logins.list_logins(connection, other)
    here, there = browse(), browse()
    here.http.headers["User-Agent"] = "<script>alert(1)</script>\u00ff"
    assert await here.log_in(login) == 303
    assert await there.log_in(login) == 303
    _, text = await here.get("/me")
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    assert (await _post(here, "/me/logins/end", "/me", login=theirs.reference))[0] == 303
    assert (await _post(here, "/me/logins/end", "/me", login="not hex"))[0] == 400
    async with store.begin() as connection:
        assert await logins.find_login(connection, foreign) is not None
        mine = [one for one in await logins.list_logins(connection, number) if "script" not in one.browser]
    assert len(mine) == 1
    assert (await _post(here, "/me/logins/end", "/me", login=mine[0].reference))[0] == 303
    assert (await there.get("/cards"))[0] == 303
    assert await there.log_in(login) == 303
    assert (await _post(here, "/me/logins/end", "/me"))[0] == 303
    assert (await there.get("/cards"))[0] == 303
    assert (await here.get("/cards"))[0] == 200


# --- Invitations ------------------------------------------------------------------------------------------------------


async def test_a_link_lets_choose_a_password_once(
    browse: Callable[[], Browser], person: tuple[int, str], store: Store
) -> None:
    number, login = person
    async with store.begin() as connection:
        old = await invitations.invite(connection, number)
        token = await invitations.invite(connection, number)
        stored = (await connection.execute(select(account_invitation.c.token_hash))).scalars().all()
        assert token.encode() not in b"".join(stored)
    browser = browse()
    assert (await browser.get(f"/invitation/{old}"))[0] == 404, "a newer link takes the place of the older one"
    status, text = await browser.get(f"/invitation/{token}")
    assert status == 200
    assert login in text
    new = "chosen by a link"
    for form, expected in (
        ({"wanted": new, "again": "other"}, 400),
        ({"wanted": "short", "again": "short"}, 400),
        ({"wanted": new, "again": new}, 303),
        ({"wanted": new, "again": new}, 404),
    ):
        async with browser.http.post(f"/invitation/{token}", data=form, allow_redirects=False) as answer:
            assert answer.status == expected
    assert await browser.log_in(login, PASSWORD) == 403
    assert await browser.log_in(login, new) == 303


async def test_a_link_dies_with_time_and_with_the_account(
    browse: Callable[[], Browser], person: tuple[int, str], store: Store
) -> None:
    number, _ = person
    async with store.begin() as connection:
        token = await invitations.invite(connection, number)
        await accounts.disable_account(connection, number)
    assert (await browse().get(f"/invitation/{token}"))[0] == 404
    async with store.begin() as connection:
        await accounts.disable_account(connection, number, disabled=False)
        await connection.execute(update(account_invitation).values(expires_at=datetime.now(UTC)))
    assert (await browse().get(f"/invitation/{token}"))[0] == 404
    form = {"wanted": "long enough", "again": "long enough"}
    async with browse().http.post(f"/invitation/{token}", data=form, allow_redirects=False) as answer:
        assert answer.status == 404


async def test_an_account_without_a_password_is_opened_by_none(browse: Callable[[], Browser], store: Store) -> None:
    async with store.begin() as connection:
        await accounts.insert_account(connection, "empty", "Пустой", None, M)
        await connection.execute(delete(login_attempt))
    for password in ("", PASSWORD):
        assert await browse().log_in("empty", password) == 403
    async with store.begin() as connection:
        rows = await connection.execute(
            select(login_session.c.token_hash).join(account).where(account.c.login == "empty")
        )
        assert rows.first() is None
