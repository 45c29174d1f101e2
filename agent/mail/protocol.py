"""What the service and its parse child say to each other; imported by both, so it imports no parser.

A frame is eight bytes of length (big-endian) and that many bytes.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import TypeAdapter

from agent.model_mail import ParsedMessage

LENGTH_BYTES = 8

MESSAGE: TypeAdapter[ParsedMessage] = TypeAdapter(ParsedMessage)


class Effort(StrEnum):
    """How much of a mail is read: less after the reading of all of it ended in a crash or took too long."""

    FULL = "full"
    NO_HTML = "no_html"  # neither HTML nor what lies inside of other formats
    HEADER = "header"
