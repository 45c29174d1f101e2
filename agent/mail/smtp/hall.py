"""What all connections of the SMTP door share."""

from __future__ import annotations

import ssl
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from agent.mail.smtp.accounts import Accounts
from agent.mail.smtp.addresses import Doors
from agent.mail.smtp.batches import Batches
from agent.mail.smtp.limits import MemoryBudget, Sources
from agent.quiet import Quiet
from agent.settings_smtp import SmtpSettings

if TYPE_CHECKING:
    from agent.mail.smtp.guarded import GuardedSession


class Hall:
    """One a server."""

    def __init__(self, settings: SmtpSettings, batches: Batches) -> None:
        self.settings = settings
        self.batches = batches
        self.doors = Doors(settings)
        self.accounts = Accounts(settings.account)
        self.sources = Sources(settings)
        self.budget = MemoryBudget(settings.memory_megabytes * 1024 * 1024)
        self.connections: set[GuardedSession] = set()
        self.parting = 0
        self.tls: ssl.SSLContext | None = None
        self.quiet = Quiet()
        self._allowed: tuple[IPv4Network | IPv6Network, ...] = tuple(map(ip_network, settings.allow))

    def is_allowed(self, peer: str) -> bool:
        """Whether this address may deliver without a login."""
        return bool(peer) and any(ip_address(peer) in network for network in self._allowed)


def address_of(peer: Any) -> str:
    """A peer's IP address, without the scope of a link-local one, and without the disguise of IPv4 as IPv6."""
    text = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else ""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
