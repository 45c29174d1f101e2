"""One tree of errors. Each names its remedy; its class says who must act.

The text of an error is shown to people as it is, so it says what happened and what to do about it. Whoever catches
one knows from the class alone whether to try again (`Unavailable`), to ask the administrator (`Misconfigured`), or to
keep the thing, flag it and go on (`Unreadable`).
"""

from __future__ import annotations

import os


class CardlineError(Exception):
    """Base of all errors of ours.

    ``remedy`` is a sentence in the imperative: what the person who reads it should do.
    """

    remedy = "Look into the log for what came before."

    def __init__(self, what: str, *, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"


class Misconfigured(CardlineError):
    """A person must change the configuration; trying again does not help."""

    remedy = "Correct cardline.toml and start again; `cardline doctor` checks it."


class Unavailable(CardlineError):
    """Something outside is away for now; whoever gets this tries again later and loses nothing."""

    remedy = "Nothing is lost; it is tried again by itself."


class Unreadable(CardlineError):
    """What came in is broken beyond reading; it is kept as it is and flagged."""

    remedy = "The original is kept unaltered; open it from the page «To be sorted»."


class UnreadableSound(Unreadable):
    """A sound file that is none, or in which nothing can be read."""

    remedy = "The file is left where it is; convert it to WAV by hand if it plays elsewhere."


class DatabaseUnavailable(Unavailable):
    """PostgreSQL does not answer."""


class ArchiveUnavailable(Unavailable):
    """The archive takes no bytes now: the disk is full or the bucket does not answer."""

    remedy = "Free space on the archive's disk or restore the bucket; senders keep what they could not deliver."


class BlobMissing(CardlineError):
    """A sealed blob is not where the database says."""

    remedy = "Restore the file from a backup and run `cardline verify`."


class BlobAltered(CardlineError):
    """A sealed blob does not open under its key: its bytes were changed."""

    remedy = "Restore the file from a backup and run `cardline verify`; find out who can write to the archive."


class BlobErased(CardlineError):
    """The data key was destroyed on demand; only the tombstone remains."""

    remedy = "Nothing can be done: the erasure was ordered and is recorded in the audit log."


class MasterKeyMissing(Misconfigured):
    """A blob is wrapped under a master key that is not in the key folder."""

    remedy = "Put the saved keys back: `cardline keys restore` takes the lines that `cardline keys show` printed."


class MailboxAuthFailed(Misconfigured):
    """The mail server refuses the login."""

    remedy = "Check user and password (or the application password) of this mailbox in cardline.toml."


class MailboxUnreachable(Unavailable):
    """The mail server cannot be reached."""


class MailboxThrottled(MailboxUnreachable):
    """The mail server asks to come back later; ``retry_after`` says in how many seconds."""

    def __init__(self, what: str, *, retry_after: float) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class MailboxFolderMissing(Misconfigured):
    """A folder that should be read does not exist on the server."""

    remedy = "Name an existing folder in `folders` of this mailbox in cardline.toml."


class ModelUnavailable(Unavailable):
    """The speech model cannot be had now; calls are kept and their transcripts wait."""

    remedy = "Run `cardline model fetch` on a machine with internet, or name a model directory in transcribe.model."


def connection_words(error: BaseException) -> str:
    """Why there was no connection, or none any more, as an administrator knows it: refused, no such name, a certificate
    that does not hold. Only what the system said of it: an address may hold a key."""
    certificate = getattr(error, "certificate_error", None)
    if words := getattr(certificate or error, "verify_message", ""):
        return f"its certificate is not accepted: {words}"
    cause = getattr(error, "os_error", None) or error
    number = getattr(cause, "errno", None) or 0
    if number > 0:
        return os.strerror(number)
    return getattr(cause, "strerror", None) or type(error).__name__
