"""The CRMs of this installation, each connected once a process."""

from __future__ import annotations

from collections.abc import Callable

from agent.archive.keys import KeyRing
from agent.errors import Misconfigured
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from agent.store.engine import Store
from linker.crm import registry
from linker.crm.protocol import Crm, Vault
from linker.crm.vault import DatabaseVault

Connect = Callable[[CrmSettings, Settings, Vault], Crm]


class Crms:
    """By name. ``connect`` replaces the registry, for tests."""

    def __init__(self, store: Store, settings: Settings, keys: KeyRing, *, connect: Connect = registry.connect) -> None:
        self._store = store
        self._settings = settings
        self._keys = keys
        self._connect = connect
        self._open: dict[str, Crm] = {}

    def settings_of(self, name: str) -> CrmSettings:
        """Its table in cardline.toml.

        Raises:
            Misconfigured: there is none.
        """
        for one in self._settings.crm:
            if one.name == name:
                return one
        raise Misconfigured(f"There is no [[crm]] {name} in cardline.toml.", remedy="Name one that is there.")

    def connected(self, name: str) -> Crm:
        """The connector; nobody was asked yet."""
        if name not in self._open:
            vault = DatabaseVault(self._store, self._keys, name)
            self._open[name] = self._connect(self.settings_of(name), self._settings, vault)
        return self._open[name]

    async def close(self) -> None:
        """Close all."""
        while self._open:
            await self._open.popitem()[1].close()
