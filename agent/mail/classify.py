"""What sort of mail it is, from its header alone, and what of the header rules may ask for. Pure.

This is the header's word, one fact among others: which sort it is in the end is decided by rules that also know who
the people are (`linker.rules`). Only a conversation becomes an activity on a card.
"""

from __future__ import annotations

from agent.mail.headers import Headers, first
from agent.mail.text import decode_words, one_line
from agent.model import MessageCategory

_MACHINES = ("mailer-daemon", "postmaster", "mail-daemon", "mailerdaemon")
_AUTO_REPLY = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-response-suppress", "x-mail-autoreply")
_BULK = {"bulk", "list", "junk"}
_LIST = ("list-id", "list-unsubscribe", "list-post")

KEPT_HEADERS = (
    *("auto-submitted", "precedence", "list-id", "list-post", "list-unsubscribe", "mailing-list", "x-google-group-id"),
    *("feedback-id", "x-campaign-id", "x-mailer", "user-agent", "x-original-from", "x-original-sender", "return-path"),
    *("x-spam-flag", "x-spam-status", "importance", "x-priority", "sensitivity", "organization", "x-autoreply"),
    *("x-auto-response-suppress", "content-language"),
)
"""Headers that rules may ask for; docs/mail-rules.md names them."""

_LONGEST_KEPT = 200


def kept_headers(headers: Headers) -> dict[str, str]:
    """Those of `KEPT_HEADERS` that there are, each on one line of at most 200 characters."""
    return {
        name: one_line(decode_words(first(headers, name)), _LONGEST_KEPT) for name in KEPT_HEADERS if name in headers
    }


def classify(
    headers: Headers, *, media_type: str, sender: str, null_return_path: bool, has_invitation: bool
) -> tuple[MessageCategory, str]:
    """The category and the rule that decided it, in words.

    ``media_type`` is the mail's own (``multipart/report``), ``sender`` the address in From. ``null_return_path``: it
    came with an empty MAIL FROM, as notifications must (RFC 5321, 4.5.5); a journal report does too and is none.
    """
    is_report = media_type == "multipart/report" and "delivery-status" in first(headers, "content-type").lower()
    is_machine = sender.partition("@")[0].lower() in _MACHINES
    if is_report:
        return MessageCategory.BOUNCE, "a delivery report (RFC 3464)"
    if is_machine and (null_return_path or first(headers, "x-failed-recipients")):
        return MessageCategory.BOUNCE, f"{sender} reports with an empty return path"
    if has_invitation:
        return MessageCategory.CONVERSATION, "it carries an invitation"
    return _by_header(headers) or _by_return_path(headers, null_return_path=null_return_path)


def _by_header(headers: Headers) -> tuple[MessageCategory, str] | None:
    submitted = first(headers, "auto-submitted").partition(";")[0].strip().lower()
    if submitted and submitted != "no":
        return MessageCategory.AUTOMATIC, _because(headers, "auto-submitted")
    for name in _AUTO_REPLY:
        if first(headers, name).lower() not in ("", "no", "none", "false"):
            return MessageCategory.AUTOMATIC, _because(headers, name)
    precedence = first(headers, "precedence").lower().replace("-", "_")
    if precedence == "auto_reply":
        return MessageCategory.AUTOMATIC, _because(headers, "precedence")
    for name in _LIST:
        if name in headers:
            return MessageCategory.NEWSLETTER, _because(headers, name)
    if precedence in _BULK:
        return MessageCategory.NEWSLETTER, _because(headers, "precedence")
    return None


def _by_return_path(headers: Headers, *, null_return_path: bool) -> tuple[MessageCategory, str]:
    if null_return_path and "x-ms-journal-report" not in headers:
        return MessageCategory.AUTOMATIC, "it was sent with an empty return path, as notifications are"
    return MessageCategory.CONVERSATION, "nothing marks it as automatic"


def _because(headers: Headers, name: str) -> str:
    return f"its header says {name.title()}: {one_line(decode_words(first(headers, name)), 100)}"
