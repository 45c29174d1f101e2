"""All virtual PBXs of an installation in the main process: the door for what they tell, and the asking for the rest."""

from __future__ import annotations

from agent.archive.blobs import Archive
from agent.settings import Settings
from agent.sip.providers.door import HookDoor
from agent.sip.providers.polling import Poller
from agent.sip.providers.presets import providers_of
from agent.sip.providers.reading import Calls, NotificationReader
from agent.store.engine import Store


class Providers:
    """``door`` takes requests as soon as its `HookDoor.run` runs, ``poller`` wants the database to be there."""

    def __init__(self, settings: Settings, store: Store, archive: Archive, intake: Calls) -> None:
        known = providers_of(settings)
        self.door = HookDoor(store, known)
        self.poller = Poller(store, NotificationReader(store, archive, intake, known), known)
