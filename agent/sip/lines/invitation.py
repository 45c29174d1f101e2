"""Reading the INVITE of a call that a line gets: who calls, whom the line then calls, and whether it may. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from agent.sip.identities import is_hidden, is_number, name_in, number_of, uri_in
from agent.sip.message import MalformedRequest, Request, read_request
from agent.sip.parties import diverted_from

DIAL_HEADER = "X-Cardline-Dial"
_DIALLED = re.compile(r"^\+?[\d*#]{2,32}$")
_UNQUOTABLE = re.compile(r'[\x00-\x1f\x7f"\\<>]')


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A call as its INVITE tells of it.

    ``target`` is whom the line calls, a SIP URI. ``is_outbound``: the manager himself dialled through the line.
    ``shown`` is the caller as the callee's telephone may show him, ``asserted`` his number where it may be told on.
    A ``refusal`` other than 0 is the status with which the call is not taken, and ``why``.
    """

    caller: str = ""
    caller_name: str = ""
    callee: str = ""
    dialled: str = ""
    target: str = ""
    is_outbound: bool = False
    shown: str = ""
    asserted: str = ""
    call_id: str = ""
    user_agent: str = ""
    diverted: tuple[str, ...] = ()
    refusal: int = 0
    why: str = ""


def is_trusted(address: str, sources: Iterable[str]) -> bool:
    """Whether calls may come from an address, ``host:port``: a stranger's would ring, or dial at our cost."""
    try:
        host = ip_address(address.rpartition(":")[0].strip("[]"))
        return any(host in ip_network(source) for source in sources)
    except ValueError:
        return False


def read_invitation(raw: bytes, account: Mapping[str, Any]) -> Invitation:
    """What the INVITE of a call says to a line with this account (the values of the order `CONFIGURE`)."""
    try:
        request = read_request(raw)
    except MalformedRequest as error:
        return Invitation(refusal=400, why=error.what)
    if request is None:
        return Invitation(refusal=400, why="no request")
    user, extension = str(account["user"]), number_of(str(account["extension"]))
    caller = _caller(request)
    dialled = _dialled(request, user)
    if number_of(uri_in(request.header("from"))) == user:
        return Invitation(refusal=482, why="the call came back to the line that had placed it")
    is_outbound = caller == extension
    if is_outbound and not _DIALLED.match(dialled):
        return Invitation(refusal=404, why="the manager called the line without a number to dial")
    callee = dialled if is_outbound else extension
    name = _name(request)
    return Invitation(
        caller=caller,
        caller_name=name if name != caller else "",
        callee=callee,
        dialled=dialled,
        target=_target(callee if is_outbound else str(account["extension"]), account),
        is_outbound=is_outbound,
        shown=_shown(request, is_outbound),
        asserted="" if is_outbound or _is_private(request) or not is_number(caller) else re.sub(r"[^+\d]", "", caller),
        call_id=request.call_id,
        user_agent=request.header("user-agent"),
        diverted=diverted_from(request),
    )


def _name(request: Request) -> str:
    """The display name of the caller, which is UTF-8 (RFC 3261, 7.3.1); headers are carried as Latin-1."""
    return name_in(request.header("from")).encode("latin-1", "replace").decode("utf-8", "replace")


def _caller(request: Request) -> str:
    """The number of From where it has one, else the one the network vouches for (RFC 3325, 9.1)."""
    told = number_of(uri_in(request.header("from")))
    if is_number(told):
        return told
    asserted = [
        number_of(uri_in(part)) for one in request.headers.get("p-asserted-identity") for part in one.split(",")
    ]
    return next((number for number in asserted if is_number(number)), "" if is_hidden(told) else told)


def _dialled(request: Request, user: str) -> str:
    """The number that was called before it came to the line: a header of ours, the request line, else To."""
    found = [request.header(DIAL_HEADER).strip(), number_of(request.uri), number_of(uri_in(request.header("to")))]
    return next((number for number in found if number != user and _DIALLED.match(number)), "")


def _is_private(request: Request) -> bool:
    privacy = request.header("privacy").lower()
    return is_hidden(number_of(uri_in(request.header("from")))) or any(one in privacy for one in ("id", "user"))


def _shown(request: Request, is_outbound: bool) -> str:
    """For a display name (RFC 3261, 25.1: quoted-string): most PBXs let a From pass only with the account's own number,
    and show its name."""
    if is_outbound or _is_private(request):
        return ""
    number, name = number_of(uri_in(request.header("from"))), _name(request)
    return _UNQUOTABLE.sub("", f"{name} {number}" if name and name != number else number).strip()[:80]


def _target(callee: str, account: Mapping[str, Any]) -> str:
    uri = callee.removeprefix("sip:")
    host = "" if "@" in uri else f"@{account['registrar']}"
    user, at, rest = (uri + host).partition("@")
    return f"sip:{user.replace('#', '%23')}{at}{rest}{transport_of(account)}"


def transport_of(account: Mapping[str, Any]) -> str:
    """The parameter of a URI that names the transport, where it is not the default one."""
    return ";transport=tcp" if account["transport"] == "tcp" else ""
