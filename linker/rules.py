"""Rules that sort mail, tried on one mail: which category it is, and what tags it gets, each with its reason. Pure.

The first enabled rule with a category that fits decides; without any, a mail is a conversation. Of each tag the first
rule that fits gives the reason. Words are compared without regard to case, ё and punctuation; ``*`` at the end of a
word stands for any ending, and a phrase that begins with ``-`` must not occur.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from agent.model import MessageCategory
from agent.store.rules import Conditions, MailFacts, MailRule, Sorted

_LONGEST_QUOTED = 80
_PIECES = re.compile(r"[^\W\d_]+\*?|\d+\*?")
_LIST_ADDRESS = re.compile(r"[\w.+-]{1,64}@([\w.-]{1,255})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """Mail domains by whose they are, as far as the mails at hand are concerned."""

    own: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()


def sort_mail(facts: MailFacts, rules: Sequence[MailRule], domains: Domains) -> Sorted:
    """What the rules make of a mail."""
    category, reason, rule_id = MessageCategory.CONVERSATION, _of_none(facts), None
    tags: dict[str, str] = {}
    is_decided = False
    for rule in rules:
        if not rule.enabled or (rule.tag in tags if rule.tag else is_decided):
            continue
        why = fits(rule.conditions, facts, domains)
        if why is None:
            continue
        if rule.tag:
            tags[rule.tag] = f"rule «{rule.name}»: {why}"
        elif rule.category is not None:
            is_decided = True
            category, rule_id = rule.category, rule.id
            reason = facts.marked_reason if set(rule.conditions) == {"marked"} else f"rule «{rule.name}»: {why}"
    is_talk = category is MessageCategory.CONVERSATION
    return Sorted(category=category, reason=reason, tags=tuple(tags.items()) if is_talk else (), rule_id=rule_id)


def _of_none(facts: MailFacts) -> str:
    return facts.marked_reason if facts.marked is MessageCategory.CONVERSATION else "no rule says otherwise"


def fits(conditions: Conditions, facts: MailFacts, domains: Domains) -> str | None:
    """Why a mail fits, in words; None where it does not. Conditions that ask for nothing fit nothing."""
    if not conditions or not conditions.keys() <= _CHECKS.keys():
        return None
    whys = {}
    for field in (one for one in _CHEAPEST_FIRST if one in conditions):
        why = _CHECKS[field](facts, conditions[field], domains)
        if why is None:
            return None
        whys[field] = why
    return "; ".join(whys[field] for field in FIELDS if field in whys)


def list_domain(headers: Mapping[str, str]) -> str:
    """The domain of the address at which members write to a mailing list (RFC 2369, List-Post), empty for a list that
    only its owner writes to."""
    for name in ("list-post", "mailing-list"):
        if found := _LIST_ADDRESS.search(headers.get(name, "")):
            return found[1].lower().rstrip(".")
    return ""


# --- Words ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)  # one rule after the other looks at the same mail
def plain(text: str) -> str:
    """Words between single spaces, and one around; letters and digits that stick together are told apart."""
    return f" {' '.join(_PIECES.findall(text.casefold().replace('ё', 'е')))} "


@dataclass(frozen=True, slots=True)
class _Phrase:
    """A phrase as it is looked for in `plain` text. ``needle`` must occur in any text that has it, and is found many
    times faster than ``pattern``, which is None where the needle says all."""

    needle: str
    pattern: re.Pattern[str] | None

    def found_in(self, words: str) -> str | None:
        """The words it was found as, None where it is not there."""
        if self.needle not in words:
            return None
        if self.pattern is None:
            return self.needle.strip()
        found = self.pattern.search(words)
        return found[1] if found else None


@lru_cache(maxsize=10_000)
def _phrase(phrase: str) -> _Phrase | None:
    """None for a phrase without words. Its pattern has no alternative ways to match, so no text makes it slow."""
    words = plain(phrase).split()
    if not any(word.endswith("*") for word in words):
        return _Phrase(f" {' '.join(words)} ", None) if words else None
    ends = [rf"{re.escape(word.rstrip('*'))}[^ ]*" if word.endswith("*") else re.escape(word) for word in words]
    needle, _, _ = f" {' '.join(words)}".partition("*")
    return _Phrase(needle, re.compile(rf" ({' '.join(ends)})(?= )"))


def _find(phrases: Sequence[str], texts: Iterable[str]) -> tuple[str, str] | None:
    """The first text with one of the phrases, and the words that were found in it; None if a forbidden one occurs."""
    wanted = [one for one in phrases if not one.startswith("-")]
    forbidden = [phrase for one in phrases if one.startswith("-") and (phrase := _phrase(one[1:]))]
    for text in texts:
        words = plain(text)
        if any(phrase.found_in(words) is not None for phrase in forbidden):
            continue
        if not wanted and forbidden:
            return text, ""
        for one in wanted:
            if (phrase := _phrase(one)) is not None and (found := phrase.found_in(words)) is not None:
                return text, found
    return None


def _quoted(text: str) -> str:
    return f"«{' '.join(text.split())[:_LONGEST_QUOTED]}»"


# --- Checks -----------------------------------------------------------------------------------------------------------


def _matches_address(address: str, value: str) -> bool:
    """``a@example.com`` is that address, ``@example.com`` that domain, ``example.com`` it and the domains in it."""
    wanted, domain = value.strip().lower(), address.rpartition("@")[2]
    if wanted.startswith("@"):
        return domain == wanted[1:]
    return address == wanted if "@" in wanted else domain == wanted or domain.endswith(f".{wanted}")


def _address_check(label: str, of: Callable[[MailFacts], Iterable[str]]) -> _Check:
    def check(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
        for address in of(facts):
            if any(_matches_address(address, value) for value in values):
                return f"{label} {address[:_LONGEST_QUOTED]}"
        return None

    return check


def _subject(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    found = _find(values, [facts.subject])
    return f"the subject has {_quoted(found[1])}" if found else None


def _words(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    found = _find(values, [facts.words])
    return f"the words have {_quoted(found[1])}" if found else None


def _attachment(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    found = _find(values, facts.attachments)
    return f"a file is called {_quoted(found[0])}" if found else None


def _header(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    """``x-mailer: unisender*``, or the name alone for a header that must be there."""
    for value in values:
        name, _, phrase = value.partition(":")
        name = name.strip().lower()
        if name in facts.headers and (not phrase.strip() or _find([phrase.strip()], [facts.headers[name]])):
            return f"its header has {name}: {facts.headers[name][:_LONGEST_QUOTED]}"
    return None


def _mailbox(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    wanted = {value.strip().casefold() for value in values}
    found = next((one for one in facts.mailboxes if one.casefold() in wanted), None)
    return f"it lies in the mailbox {found}" if found is not None else None


def _folder(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    """The folder, or one in it: servers part them by a slash or a dot."""
    for folder in facts.folders:
        for value in values:
            name, wanted = folder.casefold(), value.strip().casefold()
            if (
                name == wanted
                or name.startswith((f"{wanted}/", f"{wanted}."))
                or name.endswith((f"/{wanted}", f".{wanted}"))
            ):
                return f"it lies in the folder {_quoted(folder)}"
    return None


def _direction(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    way = facts.direction.value if facts.direction is not None else ""
    return f"it is {way}" if way in values else None


def _marked(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    return facts.marked_reason or str(facts.marked) if facts.marked in values else None


def _list(facts: MailFacts, values: Sequence[str], domains: Domains) -> str | None:
    domain = list_domain(facts.headers)
    if domain and "own" in values and domain in domains.own:
        return f"members write to a list at our own domain {domain}"
    if domain and "client" in values and domain in domains.clients:
        return f"members write to a list at the client's domain {domain}"
    return None


_Check = Callable[[MailFacts, Sequence[str], Domains], str | None]
_CHECKS: Mapping[str, _Check] = {
    "from": _address_check("it is from", lambda facts: facts.senders),
    "to": _address_check("it is to", lambda facts: facts.recipients),
    "anyone": _address_check("it names", lambda facts: (*facts.senders, *facts.recipients)),
    "subject": _subject,
    "words": _words,
    "attachment": _attachment,
    "header": _header,
    "mailbox": _mailbox,
    "folder": _folder,
    "direction": _direction,
    "marked": _marked,
    "list": _list,
}
FIELDS = tuple(_CHECKS)
"""What a rule may ask for, in the order in which a form shows it."""

_CHEAPEST_FIRST = sorted(FIELDS, key=lambda field: field == "words")
