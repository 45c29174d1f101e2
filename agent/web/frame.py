"""The frame of every page: which sections there are for whom, and how light it is. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from agent.model import UserRole
from agent.store.rights import Viewer

THEME_COOKIE = "cardline_theme"
THEMES = ("auto", "light", "dark")

_ALL = frozenset(UserRole)
_SUPERVISORS = frozenset({UserRole.ADMINISTRATOR, UserRole.SUPERVISOR})
_ADMINISTRATORS = frozenset({UserRole.ADMINISTRATOR})


@dataclass(frozen=True, slots=True)
class Section:
    """A place of the navigation: its address, the key of its name, its picture, and who has it.

    ``also`` are beginnings of addresses that belong to it besides its own. ``whole``: it is the whole company's,
    and not for a supervisor of some teams.
    """

    path: str
    name: str
    icon: str = ""
    roles: frozenset[UserRole] = _ALL
    also: tuple[str, ...] = ()
    whole: bool = False

    def is_for(self, viewer: Viewer) -> bool:
        """Whether he has it."""
        return viewer.role in self.roles and (viewer.sees_all or not self.whole)

    def is_here(self, here: str) -> bool:
        """Whether a page belongs to this section."""
        return any(here == one or here.startswith(f"{one}/") for one in (self.path, *self.also))


# What people work in every day. Figures and scorecards of a team find their place before the settings.
SECTIONS = (
    Section("/cards", "nav_cards", "clients", also=("/interactions", "/duplicates")),
    Section("/find", "nav_find", "search"),
    Section("/live", "nav_live", "live"),
    Section("/tasks", "nav_tasks", "tasks"),
    Section("/unsorted", "nav_unsorted", "tray"),
)

# What is set once in a while: one place in the navigation, and a bar of its own within.
SETTINGS = (
    Section("/settings", "nav_settings", "settings", roles=_SUPERVISORS),
    Section("/accounts", "place_accounts", roles=_ADMINISTRATORS),
    Section("/teams", "place_teams", roles=_ADMINISTRATORS),
    Section("/employees", "nav_employees", roles=_ADMINISTRATORS),
    Section("/sources", "nav_sources", roles=_SUPERVISORS, whole=True),
    Section("/mail-rules", "nav_mail_rules", roles=_ADMINISTRATORS),
    Section("/decisions", "nav_decisions", roles=_SUPERVISORS, whole=True),
    Section("/crm", "crm_title", roles=_SUPERVISORS, whole=True),
    Section("/keys", "place_keys", roles=_ADMINISTRATORS),
    Section("/masks", "nav_speech", roles=_ADMINISTRATORS, also=("/glossary",)),
    Section("/retention", "place_retention", roles=_ADMINISTRATORS),
    Section("/audit", "place_audit", roles=_ADMINISTRATORS),
    Section("/tokens", "place_tokens", roles=_ADMINISTRATORS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The navigation of one page: the sections, the bar of settings (empty elsewhere), and where the search box asks.

    ``settings`` is where the settings begin for this role, None for whoever has none.
    """

    sections: tuple[Section, ...]
    settings: Section | None
    bar: tuple[Section, ...]
    is_settings: bool
    search: str


def frame_for(viewer: Viewer, here: str, paths: Container[tuple[str, str]]) -> Frame:
    """``paths`` are the routes there are, as (method, path): what is not there is not offered."""
    mine = tuple(one for one in SETTINGS if one.is_for(viewer) and ("GET", one.path) in paths)
    is_settings = any(one.is_here(here) for one in mine)
    return Frame(
        sections=tuple(one for one in SECTIONS if one.is_for(viewer) and ("GET", one.path) in paths),
        settings=Section(mine[0].path, "nav_settings", "settings") if mine else None,
        bar=mine if is_settings and len(mine) > 1 else (),
        is_settings=is_settings,
        search="/find" if ("GET", "/find") in paths else "/cards",
    )


def theme_of(cookies: Mapping[str, str]) -> str:
    """What the reader has chosen; auto follows his device."""
    chosen = cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else THEMES[0]
