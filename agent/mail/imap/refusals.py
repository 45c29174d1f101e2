"""What a server's refusal means. Pure.

Servers say no in words of their own; a person must see one of three things (the login, a folder, the server is away),
and the mailbox must know how long to stay away.
"""

from __future__ import annotations

import re

from agent.errors import MailboxAuthFailed, MailboxThrottled, MailboxUnreachable

_THROTTLE_SECONDS = 60.0
_LIMIT_SECONDS = 300.0  # a quota of connections or bytes a day is not free again in a minute
# Microsoft 365: "User is throttled. Suggested Backoff Time: 1500 milliseconds"
_SUGGESTED = re.compile(r"suggested backoff time:\s*(\d+)\s*milliseconds", re.IGNORECASE)
# response codes of RFC 5530 and those of Gmail, Yahoo and Yandex; words of Exchange, Gmail and Dovecot
_LIMIT = re.compile(
    r"\[(LIMIT|OVERQUOTA)\]|too many (simultaneous )?connections|maximum number of connections|bandwidth limit",
    re.IGNORECASE,
)
_THROTTLED = re.compile(r"\[(THROTTLED|INUSE)\]|throttl|too many|try again later|rate limit", re.IGNORECASE)
_NOT_THE_PASSWORD = re.compile(r"\[(UNAVAILABLE|SERVERBUG|CONTACTADMIN)\]|temporary|internal error", re.IGNORECASE)


def is_throttling(said: str) -> bool:
    """Whether the server asks to come back later."""
    return bool(_THROTTLED.search(said) or _LIMIT.search(said))


def throttled(where: str, said: str) -> MailboxThrottled:
    """The error for a server that asks to come back later, with the seconds it asked for."""
    found = _SUGGESTED.search(said)
    wait = int(found[1]) / 1000 if found else (_LIMIT_SECONDS if _LIMIT.search(said) else _THROTTLE_SECONDS)
    return MailboxThrottled(f"{where} asks to come back later: {said}.", retry_after=wait)


def refused_login(where: str, user: str, said: str) -> MailboxUnreachable | MailboxAuthFailed:
    """The error for a login that was not let in: most often the password, sometimes only the server's trouble."""
    if is_throttling(said):
        return throttled(where, said)
    if _NOT_THE_PASSWORD.search(said):
        return MailboxUnreachable(f"{where} failed at login: {said}.")
    return MailboxAuthFailed(f"{where} refuses the login of {user}: {said}.")


def failed(where: str, doing: str, said: str) -> MailboxUnreachable:
    """The error for anything else that a server did not do."""
    return throttled(where, said) if is_throttling(said) else MailboxUnreachable(f"{where} failed at {doing}: {said}.")
