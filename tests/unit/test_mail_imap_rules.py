"""What a mailbox decides without a server: folders, horizon, refusals, progress, what to paste."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime

import pytest

from agent.errors import MailboxAuthFailed, MailboxThrottled, MailboxUnreachable
from agent.mail.imap import plan, refusals
from agent.mail.imap.folders import Folder, choose
from agent.mail.imap.presets import PRESETS, table
from agent.mail.imap.progress import Progress
from agent.model import MailboxPosition
from agent.settings import Settings

GMAIL = [
    Folder(name="INBOX", flags=("\\HasNoChildren",)),
    Folder(name="[Gmail]", flags=("\\HasChildren", "\\Noselect")),
    Folder(name="[Gmail]/All Mail", flags=("\\All",)),
    Folder(name="[Gmail]/Sent Mail", flags=("\\Sent",)),
    Folder(name="[Gmail]/Spam", flags=("\\Junk",)),
    Folder(name="[Gmail]/Starred", flags=("\\Flagged",)),
]
EXCHANGE = [
    *(Folder(name=name) for name in ("INBOX", "Calendar", "Contacts", "Sent Items", "Deleted Items", "Junk E-mail")),
    *(Folder(name=name) for name in ("Drafts", "Outbox", "Клиенты", "INBOX/Казань")),
]
YANDEX = [
    Folder(name="INBOX", delimiter="|"),
    Folder(name="Отправленные", flags=("\\Sent",), delimiter="|"),
    Folder(name="Спам", flags=("\\Junk",), delimiter="|"),
    Folder(name="Клиенты|Черновики", delimiter="|"),
]


def test_gmail_is_read_once_although_labels_show_a_mail_many_times() -> None:
    assert choose(GMAIL).read == ("[Gmail]/All Mail",)


def test_exchange_without_special_use_is_known_by_names() -> None:
    assert choose(EXCHANGE).read == ("INBOX", "INBOX/Казань", "Sent Items", "Клиенты")


def test_special_use_and_names_in_russian() -> None:
    choice = choose(YANDEX)
    assert choice.read == ("INBOX", "Отправленные")
    assert dict(choice.left_out)["Спам"] == "junk"
    assert "drafts" in dict(choice.left_out)["Клиенты|Черновики"]


def test_every_folder_is_read_or_left_out_with_a_reason() -> None:
    for folders in (GMAIL, EXCHANGE, YANDEX):
        choice = choose(folders)
        assert {*choice.read, *(name for name, _ in choice.left_out)} == {one.name for one in folders}
        assert all(reason for _, reason in choice.left_out)


def test_rules_of_ones_own_win_over_special_use() -> None:
    choice = choose(EXCHANGE, ["Sent Items", "inbox*", "Архив"], ["INBOX/К*"])
    assert choice.read == ("Sent Items", "INBOX")
    assert choice.missing == ("Архив",)
    assert choose(EXCHANGE, ["Deleted*"]).read == ("Deleted Items",)


def test_brackets_in_a_name_are_no_pattern() -> None:
    assert choose(GMAIL, ["[Gmail]/Sent Mail"]).read == ("[Gmail]/Sent Mail",)
    assert choose(GMAIL, ["[Gmail]/*"]).read[-1] != "INBOX"


@pytest.mark.parametrize(
    ("today", "months", "expected"),
    [
        (date(2026, 3, 31), 1, date(2026, 2, 28)),
        (date(2026, 1, 15), 12, date(2025, 1, 15)),
        (date(2026, 1, 15), 1, date(2025, 12, 15)),
        (date(2026, 1, 15), 0, None),
    ],
)
def test_months_back(today: date, months: int, expected: date | None) -> None:
    assert plan.horizon(today, None, months) == expected
    assert plan.horizon(today, date(2020, 1, 1), months) == date(2020, 1, 1)


def test_a_horizon_that_moves_back_begins_the_first_pass_anew() -> None:
    done = MailboxPosition(mailbox="m", folder="INBOX", uidvalidity=1, low_uid=1, high_uid=90)
    for before, now, is_wider in (
        (date(2025, 1, 1), None, True),
        (date(2025, 1, 1), date(2024, 1, 1), True),
        (date(2025, 1, 1), date(2025, 6, 1), False),
        (None, date(2025, 1, 1), False),
        (None, None, False),
    ):
        assert (plan.widened(done, before, now).low_uid == 91) is is_wider


@pytest.mark.parametrize(
    ("said", "kind", "seconds"),
    [
        ("User is throttled. Suggested Backoff Time: 1500 milliseconds", MailboxThrottled, 1.5),
        ("[THROTTLED] Request is throttled", MailboxThrottled, 60),
        ("[ALERT] Too many simultaneous connections. (Failure)", MailboxThrottled, 300),
        ("[LIMIT] LOGIN Rate limit hit", MailboxThrottled, 300),
        ("[OVERQUOTA] Account exceeded command or bandwidth limits", MailboxThrottled, 300),
        ("[UNAVAILABLE] Temporary authentication failure", MailboxUnreachable, None),
        ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", MailboxAuthFailed, None),
        ("AUTHENTICATE failed.", MailboxAuthFailed, None),
        ("[ALERT] Application-specific password required", MailboxAuthFailed, None),
    ],
)
def test_refused_logins_of_real_servers(said: str, kind: type[Exception], seconds: float | None) -> None:
    error = refusals.refused_login("imap.example.com port 993", "anna", said)
    assert type(error) is kind
    assert getattr(error, "retry_after", None) == seconds


def test_progress_in_words() -> None:
    told: list[str] = []
    progress = Progress({"INBOX": 12_000}, told.append)
    progress.saw("INBOX", 40_000)
    progress.saw("Sent", 8_000)
    progress.took("INBOX", 300, datetime(2024, 3, 9, tzinfo=UTC))
    assert told == ["12,300 of 48,000, back to March 2024."]
    progress.horizon = date(2024, 1, 1)
    progress.took("Sent", 9_000, datetime(2024, 5, 1, tzinfo=UTC))
    assert told[-1] == "21,300 of 48,000, back to March 2024; it ends at 01 January 2024."


def test_new_mail_in_a_mailbox_that_is_read_is_no_first_pass() -> None:
    told: list[str] = []
    progress = Progress({"INBOX": 10}, told.append)
    progress.saw("INBOX", 11)
    progress.is_under_way = False
    progress.took("INBOX", 1, datetime(2024, 3, 9, tzinfo=UTC))
    assert told == []


@pytest.mark.parametrize("secret", ['a"b\\c', "ключ\t#", "\x7f\x01", "'''"])
def test_what_is_printed_is_read_back_by_the_settings(secret: str) -> None:
    printed = table({"name": "Анна", "host": "imap.example.com", "user": "anna", "password": secret, "connections": 2})
    (one,) = Settings.model_validate(tomllib.loads(printed)).mailbox
    assert (one.name, one.password.get_secret_value(), one.connections) == ("Анна", secret, 2)


def test_presets_are_modest() -> None:
    for one in PRESETS.values():
        assert 1 <= one.connections <= 5
        assert one.page.startswith("docs/mailboxes/")
