"""Real peers of tests: found by their executables, skipped by name with the reason where they are missing.

A test that needs one begins with ``require("dovecot")``. With ``CARDLINE_PEERS=required`` (so in `.ci/run`) a missing
peer fails the test instead, so that nobody takes a skipped check for a passed one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

_CACHE = Path(__file__).parents[1] / ".cache"  # peers from PyPI have environments of their own there


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program of somebody else: any of ``executables`` is enough; ``package`` is its name for apt-get install."""

    executables: tuple[str, ...]
    package: str


_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

PEERS: dict[str, Peer] = {
    "baresip": Peer(executables=("baresip",), package="baresip-core"),
    "chromium": Peer(executables=("chromium", "chromium-browser", "google-chrome"), package="chromium"),
    "dovecot": Peer(executables=("dovecot",), package="dovecot-imapd"),
    "espeak-ng": Peer(executables=("espeak-ng",), package="espeak-ng"),
    "ffmpeg": Peer(executables=("ffmpeg",), package="ffmpeg"),
    "kamailio": Peer(executables=("kamailio",), package="kamailio"),
    "mbsync": Peer(executables=("mbsync",), package="isync"),
    "openssl": Peer(executables=("openssl",), package="openssl"),
    "postfix": Peer(executables=("postfix",), package="postfix"),
    "sipp": Peer(executables=("sipp",), package="sip-tester"),
    "smtp-source": Peer(executables=("smtp-source",), package="postfix"),
    "strace": Peer(executables=("strace",), package="strace"),
    "swaks": Peer(executables=("swaks",), package="swaks"),
    "tryton": Peer(executables=("trytond",), package="python3-venv, then tests/install-peers"),
    "tshark": Peer(executables=("tshark",), package="tshark"),
}


def find(name: str) -> str | None:
    """Path of the peer's program, or None where it is not installed; daemons in sbin count too."""
    path = os.pathsep.join((str(_CACHE / name / "bin"), os.environ.get("PATH", os.defpath), _SBIN))
    return next((found for one in PEERS[name].executables if (found := shutil.which(one, path=path))), None)


def require(name: str) -> str:
    """Path of the peer's program; without it the test is skipped, or fails where CARDLINE_PEERS=required."""
    found = find(name)
    if found is not None:
        return found
    reason = f"{name} is not installed (apt-get install {PEERS[name].package})"
    if os.environ.get("CARDLINE_PEERS") == "required":
        pytest.fail(f"{reason}, and CARDLINE_PEERS=required", pytrace=False)
    pytest.skip(reason)
