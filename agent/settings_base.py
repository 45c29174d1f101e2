"""What all tables of cardline.toml have in common."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _known_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        ip_network(network)
    return networks


Port = Annotated[int, Field(ge=0, le=65535)]
NAME = r"^[\w .-]+$"
"""A name in pages and logs. Its length is a limit of its own: repeated in the pattern, each would cost megabytes."""

Networks = Annotated[tuple[str, ...], AfterValidator(_known_networks)]


class Section(BaseModel):
    """A table of cardline.toml; an unknown name in it is an error, since it is most often a slip of the pen."""

    model_config = ConfigDict(extra="forbid", frozen=True)
