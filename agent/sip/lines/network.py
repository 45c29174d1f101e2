"""Where calls of a line may come from: the addresses of its registrar and proxy, and what the administrator adds."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

from agent.errors import Unavailable
from agent.settings_lines import LineSettings


async def resolve(settings: LineSettings) -> list[str]:
    """The networks, sorted.

    Raises:
        Unavailable: a name has no address now.
    """
    hosts = {host_of(one) for one in (settings.registrar, settings.proxy) if one}
    found = set(settings.allow)
    for host in sorted(hosts):
        found |= await _addresses(host)
    return sorted(found)


async def _addresses(host: str) -> set[str]:
    try:
        known = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise Unavailable(f"The name {host} has no address: {error.strerror or error}.") from error
    return {str(ip_address(one[4][0])) for one in known}


def host_of(address: str) -> str:
    """The host in ``host``, ``host:port`` or ``[2001:db8::1]:5060``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0]
