"""Mailboxes over IMAP: what is in them is archived, and nothing in them is ever changed.

`mailbox` is the thread and its states, `reader` takes messages, `presence` notes what became of them, `fetchers` reads
over several connections; `plan`, `folders`, `names`, `refusals` and `presets` decide, without sockets; `session` alone
knows IMAPClient, `oauth` alone how tokens are got.
"""

from agent.mail.imap.mailbox import Mailbox

__all__ = ["Mailbox"]
