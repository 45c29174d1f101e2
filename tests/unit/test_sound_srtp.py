"""Encrypted streams: encrypted by libsrtp as a phone would, logged as they came, opened when assembled."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pylibsrtp import Policy, Session

from agent.model import Gap
from agent.sound.assemble import Assembled, assemble
from agent.sound.codecs import Codec
from agent.sound.packetlog import PacketLogWriter, encode_record
from agent.sound.srtp import SUITES, Opener, SrtpKey, SrtpKeys, read_key
from agent.sound.streams import REFUSED, StreamPlan
from tests.unit.soundlab import EPOCH, Sent, chirps, read_sound, shift_of, stream


def make_key(suite: str, seed: int = 1, mki_size: int = 0) -> SrtpKey:
    key = read_key(
        suite, base64.b64encode(np.random.default_rng(seed).bytes(SUITES[suite].key_size)).decode(), mki_size
    )
    assert key is not None
    return key


AES = make_key("AES_CM_128_HMAC_SHA1_80")


class Sender:
    """Encrypts packets with a key, its name in between where it has one."""

    def __init__(self, key: SrtpKey) -> None:
        self._key = key
        policy = Policy(key=key.key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=SUITES[key.suite].profile)
        policy.allow_repeat_tx = True
        self._session = Session(policy)

    def protect(self, packet: bytes) -> bytes:
        shut = self._session.protect(packet)
        end = len(shut) - SUITES[self._key.suite].tag_size
        return shut[:end] + bytes(self._key.mki_size) + shut[end:]


def write(path: Path, packets: list[tuple[float, bytes]]) -> Path:
    log = PacketLogWriter(path, address="192.0.2.1", port=40000, started=EPOCH)
    log.append(b"".join(b"".join(encode_record(data, round(at * 1000))) for at, data in packets))
    log.close()
    return path


def record(folder: Path, packets: list[tuple[float, bytes]], *keys: SrtpKey, seconds: float) -> Assembled:
    path = write(folder / "0.rtpdump", packets)
    codecs = {101: Codec(name="telephone-event", clock_rate=8000)}
    plan = StreamPlan(path=path, channel=0, codecs=codecs, srtp=SrtpKeys(keys=keys))
    return assemble([plan], started=EPOCH, ended=EPOCH + seconds, out=folder / "call.flac")


def protected(key: SrtpKey, packets: list[Sent]) -> list[tuple[float, bytes]]:
    sender = Sender(key)
    return [(one.at, sender.protect(one.packet())) for one in packets]


def gaps(done: Assembled) -> list[Gap]:
    return [gap for gap in done.gaps if gap.channel == 0]


@pytest.mark.parametrize("suite", sorted(SUITES))
@pytest.mark.parametrize("mki_size", [0, 4])
def test_every_suite(tmp_path: Path, suite: str, mki_size: int) -> None:
    sent, key = chirps(6, seed=1), make_key(suite, mki_size=mki_size)
    done = record(tmp_path, protected(key, stream(sent, sequence=65400)), key, seconds=6)  # past the wrap: ROC 1
    assert (done.flags, gaps(done)) == ((), [])
    assert np.abs(read_sound(done.path)[:, 0].astype(int) - sent).max() < 512


def test_a_new_key_in_mid_call(tmp_path: Path) -> None:
    sent, other = chirps(8, seed=2), make_key("AEAD_AES_128_GCM", seed=7)
    packets = stream(sent)
    mixed = protected(AES, packets[:200]) + protected(other, packets[200:])
    done = record(tmp_path, mixed, AES, other, seconds=8)
    assert (done.flags, gaps(done)) == ((), [])
    assert abs(shift_of(read_sound(done.path)[:, 0], sent, place=0)) <= 8


def test_what_opens_under_no_key_is_a_gap(tmp_path: Path) -> None:
    packets = stream(chirps(6, seed=3))
    mixed = protected(AES, packets[:100])
    mixed += protected(make_key("AES_CM_128_HMAC_SHA1_80", seed=9), packets[100:150])
    mixed += protected(AES, packets[150:])
    changed = bytearray(mixed[40][1])
    changed[50] ^= 1
    mixed[40] = (mixed[40][0], bytes(changed))
    done = record(tmp_path, mixed, AES, seconds=6)
    assert [(gap.start_ms, gap.end_ms, gap.reason) for gap in gaps(done)] == [(2000, 3000, REFUSED)]
    assert done.flags == ("0.rtpdump: 51 encrypted packets do not open under any key",)
    assert done.concealed == 160


def test_without_a_fitting_key_there_is_a_recording_that_says_so(tmp_path: Path) -> None:
    packets = protected(AES, stream(chirps(2)))
    for number, keys in enumerate([(), (make_key("AEAD_AES_256_GCM"),)]):
        folder = tmp_path / str(number)
        done = record(folder, packets, *keys, seconds=2)
        assert done.packets == 100
        assert [gap.reason for gap in gaps(done)] == [REFUSED]
        assert not read_sound(done.path).any()


def test_repeated_and_reordered_packets(tmp_path: Path) -> None:
    sent = chirps(6, seed=4)
    packets = protected(AES, stream(sent))
    late = packets.pop(100)
    packets = [*packets[:150], (packets[150][0], late[1]), *packets[150:], *packets[-5:]]
    done = record(tmp_path, packets, AES, seconds=6)
    assert (done.flags, gaps(done), done.concealed) == ((), [], 0)


def test_garbage_opens_nothing() -> None:
    opener, random = Opener(SrtpKeys(keys=(AES, make_key("AEAD_AES_128_GCM", mki_size=4)))), np.random.default_rng(5)
    for size in (0, 1, 11, 12, 13, 20, 1499, 1500, 5000):
        assert opener.open(random.bytes(size)) is None
        assert opener.open(b"\x80\x08" + random.bytes(size)) is None


def test_a_masked_key_in_an_encrypted_stream_is_still_a_key(tmp_path: Path) -> None:
    packets = stream(chirps(3, seed=6))
    event = replace(packets[50], payload=bytes(4 + 10), payload_type=101)  # the capture process zeroed it
    mixed = [*protected(AES, packets[:50]), (event.at, event.packet()), *protected(AES, packets[50:])]
    done = record(tmp_path, mixed, AES, seconds=3)
    assert [(mark.kind, mark.text) for mark in done.marks] == [("dtmf", "")]


def test_keys_are_never_shown() -> None:
    assert AES.key.hex() not in repr(SrtpKeys(keys=(AES,))) and repr(AES.key) not in repr(SrtpKeys(keys=(AES,)))


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "not base64!", "é"])
def test_keys_that_are_none(text: str) -> None:
    assert read_key("AES_CM_128_HMAC_SHA1_80", text) is None
    assert read_key("AES_256_CM_HMAC_SHA1_80", base64.b64encode(bytes(46)).decode()) is None
