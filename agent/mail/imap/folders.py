"""Which folders of a mailbox are read, each with the reason. Pure.

Nothing may be missed, so everything is read that may hold a conversation: rules of the mailbox's owner file mail into
folders nobody told us of. Left out are folders that hold no mail of their own, drafts, junk and trash. Special use
(RFC 6154) decides; where a server does not tell it, the names that mail programs give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_LEFT_OUT = {
    "\\noselect": "it holds folders, no mail",
    "\\nonexistent": "it holds folders, no mail",
    "\\junk": "junk",
    "\\trash": "what was deleted",
    "\\drafts": "drafts; they are read once they are sent",
    "\\flagged": "it shows mail of other folders",
    "\\important": "it shows mail of other folders",
}
_NAMES = {
    "\\sent": ("sent", "sent items", "sent messages", "sent mail", "отправленные", "отправленное"),
    "\\drafts": ("drafts", "draft", "черновики"),
    "\\junk": ("junk", "spam", "junk e-mail", "junk email", "bulk mail", "спам", "нежелательная почта"),
    "\\trash": ("trash", "deleted items", "deleted messages", "корзина", "удаленные", "удалённые"),
}
# Exchange shows them over IMAP; what is in them is no mail
_NO_MAIL = frozenset(
    (
        *("calendar", "contacts", "journal", "notes", "tasks", "outbox", "sync issues", "rss feeds"),
        *("календарь", "контакты", "журнал", "заметки", "задачи", "исходящие", "ошибки синхронизации", "rss-каналы"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder as LIST shows it; ``delimiter`` parts the levels of its name, ``flags`` are its attributes."""

    name: str
    flags: tuple[str, ...] = ()
    delimiter: str = "/"

    @property
    def use(self) -> str:
        """Its special use in lower case (``\\sent``), by attribute, else by name; empty: none."""
        flags = {one.lower() for one in self.flags}
        for use in ("\\all", *_LEFT_OUT, "\\sent"):
            if use in flags:
                return use
        last = self.last_name
        return next((use for use, names in _NAMES.items() if last in names), "")

    @property
    def last_name(self) -> str:
        """The last level of its name, in lower case."""
        return (self.name.rsplit(self.delimiter, 1)[-1] if self.delimiter else self.name).strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which folders are read, the one to wait for news in first; which are left out and why; which are missing."""

    read: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()


def choose(folders: Sequence[Folder], wanted: Sequence[str] = (), unwanted: Sequence[str] = ()) -> Choice:
    """The folders to read.

    ``wanted`` are names or patterns with ``*``; empty stands for everything that may hold a conversation. ``unwanted``
    are patterns that are always left out. A wanted name without ``*`` that does not exist is missing.
    """
    reasons = {one.name: _reason(one, folders, wanted, unwanted) for one in folders}
    read = [name for name, reason in reasons.items() if not reason]
    missing = [name for name in wanted if "*" not in name and not any(_matches(one.name, name) for one in folders)]
    return Choice(
        read=tuple(sorted(read, key=lambda name: _rank(name, wanted))),
        left_out=tuple((name, reason) for name, reason in reasons.items() if reason),
        missing=tuple(missing),
    )


def _reason(folder: Folder, all_of_them: Sequence[Folder], wanted: Sequence[str], unwanted: Sequence[str]) -> str:
    """Why a folder is not read; empty: it is."""
    flags = {one.lower() for one in folder.flags}
    if flags & {"\\noselect", "\\nonexistent"}:
        return _LEFT_OUT["\\noselect"]
    if any(_matches(folder.name, pattern) for pattern in unwanted):
        return "it is named in skip_folders"
    if wanted:
        return "" if any(_matches(folder.name, pattern) for pattern in wanted) else "it is not named in folders"
    if any(one.use == "\\all" for one in all_of_them) and folder.use != "\\all":
        return "what is in it is in the folder of all mail too"
    if folder.last_name in _NO_MAIL:
        return "it holds no mail"
    return _LEFT_OUT.get(folder.use, "")


def _matches(name: str, pattern: str) -> bool:
    """INBOX is the one name without case (RFC 9051, 5.1)."""
    if name.upper() == "INBOX" or pattern.upper() == "INBOX":
        return fnmatchcase(name.upper(), pattern.upper())
    return fnmatchcase(name, _only_stars(pattern))


def _only_stars(pattern: str) -> str:
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _rank(name: str, wanted: Sequence[str]) -> tuple[int, int, str]:
    """New mail comes into the first one named, else into all mail or the inbox."""
    named = next((number for number, pattern in enumerate(wanted) if _matches(name, pattern)), len(wanted))
    return named, 0 if name.upper() == "INBOX" else 1, name
