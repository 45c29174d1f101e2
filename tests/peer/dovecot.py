"""The Dovecot of the demo, with what only tests do to a mail server."""

from __future__ import annotations

from pathlib import Path

from agent.demo.dovecot import PASSWORD, USER, quoted
from agent.demo.dovecot import Dovecot as PrivateDovecot

__all__ = ["PASSWORD", "USER", "Dovecot"]


class Dovecot(PrivateDovecot):
    """Start it, fill it with `append`, point a mailbox at ``port``, then treat it badly.

    ``changes`` are pairs of text in its configuration and what stands in its place from the next start on.
    """

    changes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where configuration, log and mail lie."""
        return self._folder

    def _prepare(self) -> None:
        super()._prepare()
        path = self._folder / "dovecot.conf"
        text = path.read_text()
        for old, new in zip(self.changes[::2], self.changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)

    def expunge(self, folder: str, uids: str) -> None:
        """Delete messages for good."""
        with self.client() as client:
            client.select(quoted(folder))
            client.uid("STORE", uids, "+FLAGS", r"(\Deleted)")
            client.expunge()

    def expunge_behind_its_back(self, count: int) -> None:
        """Delete the first ``count`` files of the INBOX."""
        for path in sorted((*self.mail.glob("cur/*"), *self.mail.glob("new/*")))[:count]:
            path.unlink()

    def change_uidvalidity(self) -> None:
        """Forget all UIDs, as a server does that was restored or moved."""
        for pattern in ("dovecot-uidlist*", "dovecot.index*"):  # dovecot-uidvalidity makes the next one a higher one
            for path in self.mail.rglob(pattern):
                path.unlink()
