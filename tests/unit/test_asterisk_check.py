"""`cardline doctor asterisk` and the list of extensions, against an Asterisk in every state."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.commandline.asterisk import examine_asterisk, lines_to_paste
from agent.doctor import Finding
from agent.settings import Settings
from agent.sip.asterisk.ari import AsteriskLoginFailed, AsteriskUnreachable
from agent.sip.asterisk.extensions import list_extensions
from tests.asterisk.pbx import SECRET, USER, FakeAsterisk, fake_asterisk


@pytest.fixture
async def pbx() -> AsyncIterator[FakeAsterisk]:
    async with fake_asterisk() as one:
        yield one


def settings(folder: Path, pbx: FakeAsterisk, **more: Any) -> Settings:
    table = {"name": "office", "url": pbx.url, "user": USER, "secret": SECRET, **more}
    siprec = {"listen": "127.0.0.1", "rtp_ports": [47000, 47099]}
    return Settings.model_validate({"data_dir": folder, "siprec": siprec, "asterisk": [table]})


async def faults(folder: Path, pbx: FakeAsterisk, **more: Any) -> dict[str, str]:
    found = await examine_asterisk(settings(folder, pbx, **more))
    assert all(SECRET not in one.text for one in found)
    return {one.subject: one.text for one in found if one.level == "fault"}


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {one.subject: one for one in findings}


async def test_a_good_one_is_tried_down_to_sound_that_arrives(pbx: FakeAsterisk, tmp_path: Path) -> None:
    found = by_subject(await examine_asterisk(settings(tmp_path, pbx)))
    assert {one.level for one in found.values()} == {"ok"}
    assert "20.9.3" in found["office version"].text and "127.0.0.1:470" in found["office test tap"].text
    assert pbx.leftovers == [] and pbx.listeners == 0 and not pbx.world.bridges and not pbx.world.channels


async def test_nothing_configured_says_how_to_begin(tmp_path: Path) -> None:
    (found,) = await examine_asterisk(Settings(data_dir=tmp_path))
    assert found.level == "warning" and "[[asterisk]]" in found.text
    assert "read_only = no" in lines_to_paste(Settings(data_dir=tmp_path))


async def test_the_lines_to_paste_name_the_user_and_never_the_secret(pbx: FakeAsterisk, tmp_path: Path) -> None:
    lines = lines_to_paste(settings(tmp_path, pbx))
    assert f"[{USER}]" in lines and SECRET not in lines


async def test_each_thing_that_can_be_wrong_is_named(pbx: FakeAsterisk, tmp_path: Path) -> None:
    assert "user and secret" in (await faults(tmp_path, pbx, secret="wrong"))["office"]
    nowhere = pbx.url.replace("/ari", "/nothing")
    assert "404" in (text := (await faults(tmp_path, pbx, url=nowhere))["office"]) and "ari.conf" in text
    pbx.version = "13.38.3"
    assert "16.6" in (await faults(tmp_path, pbx))["office version"]
    pbx.version = "certified-20.7"
    pbx.modules.remove("chan_rtp.so")
    assert "chan_rtp" in (await faults(tmp_path, pbx))["office modules"]
    pbx.modules.append("chan_rtp.so")
    pbx.read_only = True
    assert "read_only = no" in (await faults(tmp_path, pbx))["office rights"]
    pbx.read_only = False
    pbx.refusals["POST snoop"] = 400
    assert "snoop" in (await faults(tmp_path, pbx))["office test tap"]
    assert pbx.leftovers == []
    pbx.refusals.clear()
    assert await faults(tmp_path, pbx) == {}
    await pbx.stop()
    assert "cannot be reached" in (await faults(tmp_path, pbx))["office"]


async def test_sound_that_does_not_arrive_is_a_firewall_or_a_wrong_address(
    pbx: FakeAsterisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sip.asterisk.check._SOUND_S", 0.2)
    pbx.is_mute = True
    assert "advertise" in (await faults(tmp_path, pbx))["office test tap"]
    assert "NAT" in (await faults(tmp_path, pbx, advertise="192.0.2.20"))["office test tap"]


async def test_no_free_port_is_said(pbx: FakeAsterisk, tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 47200))
        two.bind(("127.0.0.1", 47202))
        given = settings(tmp_path, pbx)
        narrow = given.siprec.model_copy(update={"rtp_ports": (47200, 47203)})
        found = by_subject(await examine_asterisk(given.model_copy(update={"siprec": narrow})))
    assert "rtp_ports" in found["office test tap"].text and found["office test tap"].level == "fault"


async def test_extensions_come_with_their_names_and_trunks_do_not(pbx: FakeAsterisk) -> None:
    def endpoint(name: Any, technology: str = "PJSIP") -> dict[str, Any]:
        return {"technology": technology, "resource": name, "state": "online", "channel_ids": []}

    names = ["102", "101", "trunk", "74951112233", "anna", "99103"]
    pbx.endpoints = [*map(endpoint, names), endpoint("104", "SIP"), endpoint("105", "Local"), endpoint(None), {}]
    pbx.configured = {
        "101": '"Anna Ivanova" <101>',
        "102": "Boris Petrov <102>",
        "anna": '"Анна Орлова" <103>',
        "99103": '"Анна Орлова" <103>',
        "trunk": '"Company" <74951112233>',
        "74951112233": "nonsense",
    }
    given = settings(Path(), pbx).asterisk[0]
    assert await list_extensions(given, digits=5) == [
        ("101", "Anna Ivanova"),
        ("102", "Boris Petrov"),
        ("103", "Анна Орлова"),
        ("104", ""),
    ]
    with pytest.raises(AsteriskLoginFailed):
        await list_extensions(settings(Path(), pbx, secret="wrong").asterisk[0], digits=5)
    await pbx.stop()
    with pytest.raises(AsteriskUnreachable):
        await list_extensions(given, digits=5)
