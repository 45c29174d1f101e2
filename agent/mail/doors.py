"""What an address of ours means, to which a mail was delivered by SMTP."""

from __future__ import annotations

from enum import StrEnum

DOORS = "doors"
"""Key of a mail's envelope: recipient → `Door`."""

TEAMS = "teams"
"""Key of a mail's envelope: recipient → name of the team whose address it is."""


class Door(StrEnum):
    """What mail for an address is."""

    JOURNAL = "journal"  # copies and reports that a mail server made
    DROP = "drop"  # a person put it into Bcc or forwarded a mail to it
    TEAM = "team"
    ANY = "any"  # an address that was not named
