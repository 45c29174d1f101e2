"""Which addresses mail is taken for, and what its coming there means. Pure.

Nothing is ever relayed: an address that is no door of ours is refused, unless none was named or all are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.mail.doors import DOORS, TEAMS, Door
from agent.settings_smtp import SmtpSettings


class Doors:
    """The addresses of the settings. ``name@`` stands for any domain; ``name+what@domain`` is ``name@domain``."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._named = {
            **dict.fromkeys(settings.teams, Door.TEAM),
            **dict.fromkeys(settings.drop, Door.DROP),
            **dict.fromkeys(settings.journal, Door.JOURNAL),
        }
        self._teams = settings.teams
        self.takes_all = settings.catch_all or not self._named

    def find(self, address: str) -> Door | None:
        """What the address is; None: mail for it is refused."""
        if (name := self._name(address)) is not None:
            return self._named[name]
        return Door.ANY if self.takes_all else None

    def envelope(self, recipients: Sequence[str]) -> dict[str, dict[str, str]]:
        """What goes beside the bytes: recipients that are doors, with what they are, and the names of teams."""
        doors: dict[str, str] = {}
        teams: dict[str, str] = {}
        for address in recipients:
            name = self._name(address)
            if name is not None:
                doors[address] = self._named[name]
                if name in self._teams:
                    teams[address] = self._teams[name]
        found = {}
        if doors:
            found[DOORS] = doors
        if teams:
            found[TEAMS] = teams
        return found

    def _name(self, address: str) -> str | None:
        local, _, domain = address.lower().rpartition("@")
        base = local.partition("+")[0]
        candidates = (f"{local}@{domain}", f"{local}@", f"{base}@{domain}", f"{base}@")
        return next((one for one in candidates if one in self._named), None)
