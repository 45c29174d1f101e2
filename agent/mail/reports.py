"""What a mail that came back says: which mail it is about, and whom that did not reach (RFC 3464). Pure.

Servers that know no delivery reports put the header of the returned mail into their text, or name it in In-Reply-To.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.parser import BytesHeaderParser

from agent.mail import headers as header
from agent.mail.parts import POLICY, Part, children, part_bytes
from agent.mail.text import one_line
from agent.model_mail import ParsedOriginal, ParsedReport

_MOST_RECIPIENTS = 20
_MOST_IDS = 10
_LOOKED_AT = 64 * 1024  # bytes of a returned header, characters of a text
_IN_TEXT = re.compile(r"^[ \t>]{0,10}message-id:[ \t]{0,10}(<[^<>\s]{1,500}>)", re.IGNORECASE | re.MULTILINE)


def read_report(
    parts: Sequence[Part], headers: header.Headers, originals: Sequence[ParsedOriginal], text: str
) -> ParsedReport:
    """The report of a mail that is known to be one; what it does not say is left empty."""
    ids = [one.message_id for one in originals if one.message_id] + _ids_of_returned_headers(parts)
    ids = ids or list(header.read_ids(_IN_TEXT.findall(text[:_LOOKED_AT])))
    ids = ids or list(header.read_ids([*headers.get("in-reply-to", ()), *headers.get("references", ())]))
    failed = dict(_failed(parts))
    for address in header.first(headers, "x-failed-recipients").split(","):
        if "@" in address:
            failed.setdefault(one_line(address, 320).lower(), "")
    return ParsedReport(
        about_ids=tuple(dict.fromkeys(ids))[:_MOST_IDS], failed=tuple(failed.items())[:_MOST_RECIPIENTS]
    )


def _ids_of_returned_headers(parts: Sequence[Part]) -> list[str]:
    found = []
    for part in parts:
        if part.media_type == "text/rfc822-headers":
            message = BytesHeaderParser(policy=POLICY).parsebytes(part_bytes(part)[:_LOOKED_AT])
            found.append(header.read_message_id(header.read_headers(message))[0])
    return [one for one in found if one]


def _failed(parts: Sequence[Part]) -> Iterable[tuple[str, str]]:
    """Address and diagnosis of each recipient whose delivery was given up."""
    for part in parts:
        if part.media_type not in ("message/delivery-status", "message/global-delivery-status"):
            continue
        for block in children(part.message)[: _MOST_RECIPIENTS + 1]:
            fields = header.read_headers(block)
            address = header.first(fields, "final-recipient") or header.first(fields, "original-recipient")
            if address and header.first(fields, "action").lower() == "failed":
                status = header.first(fields, "diagnostic-code") or header.first(fields, "status")
                yield (
                    one_line(address.rpartition(";")[2].strip(" <>"), 320).lower(),
                    one_line(status.rpartition("smtp;")[2].strip(), 300),
                )
