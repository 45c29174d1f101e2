"""Listening in to encrypted streams: opened while they come, also by one who joins late, and under a new key."""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path

import numpy as np
import pytest

from agent.sip.journal import CLOSED, OPENED, STREAM, Journal
from agent.sip.listening import ListeningPost
from agent.sound.follow import FollowedStream, Follower
from agent.sound.packetlog import PacketLogWriter, encode_record
from agent.sound.srtp import SUITES, SrtpKey, SrtpKeys
from tests.unit.soundlab import EPOCH, rtp
from tests.unit.test_sound_follow import BLOCK, LAG, RATE, Growing, alaw, loud, pitch, play
from tests.unit.test_sound_srtp import AES, Sender, make_key

FRAME = 0.02


@pytest.fixture
def log(tmp_path: Path) -> Growing:
    return Growing(tmp_path / "0.rtpdump")


def encrypted(key: SrtpKey, seconds: float, *, sequence: int = 0) -> list[tuple[float, bytes]]:
    sender = Sender(key)
    frames = enumerate(alaw(seconds, 440))
    return [(n * FRAME, sender.protect(rtp(sequence + n, n * 160, data))) for n, data in frames]


@pytest.mark.parametrize("suite", sorted(SUITES))
@pytest.mark.parametrize("sequence", [0, 65500])
def test_every_suite_also_past_the_wrap(log: Growing, suite: str, sequence: int) -> None:
    key = make_key(suite, mki_size=4)
    keys = SrtpKeys(keys=(AES, key))
    heard = play(log, encrypted(key, 3, sequence=sequence), 3, FollowedStream(path=log.path, channel=0, keys=keys))
    assert loud(heard[:, 0], 0.1, 2.9) == 1
    assert abs(pitch(heard[RATE : 2 * RATE, 0]) - 440) < 2


def test_without_the_key_there_is_silence_and_no_noise(log: Growing) -> None:
    keys = SrtpKeys(keys=(make_key("AES_CM_128_HMAC_SHA1_80", seed=9),))
    heard = play(log, encrypted(AES, 2), 2, FollowedStream(path=log.path, channel=0, keys=keys))
    assert not heard.any()


def test_who_joins_late_hears_it_too(log: Growing) -> None:
    """After twenty-three minutes the packet counter has wrapped, which no packet tells."""
    sender, late, count = Sender(AES), 1380.0, round(1382 / FRAME)
    frames = alaw(2, 440)
    shut = [sender.protect(rtp(n, n * 160, frames[n % len(frames)])) for n in range(count)]
    log.file.append(b"".join(part for n, one in enumerate(shut) for part in encode_record(one, round(n * 20))))
    follower = Follower(rate=RATE, channels=2, started=EPOCH + late, block=BLOCK)
    follower.follow([FollowedStream(path=log.path, channel=0, keys=SrtpKeys(keys=(AES,)))])
    heard = b"".join(follower.take() for _ in range(10))
    assert loud(np.frombuffer(heard, np.int16).reshape(-1, 2)[:, 0], 0.1, 1.9) == 1


def test_a_key_that_joins_makes_the_others_forget_nothing(log: Growing) -> None:
    """A re-INVITE announces the key to come; the one in use has wrapped its counter by then."""
    other = make_key("AEAD_AES_128_GCM", seed=7)
    packets = encrypted(AES, 4, sequence=65500)[:150]
    packets += [(at, data) for at, data in encrypted(other, 5, sequence=100) if at >= 3]
    follower = Follower(rate=RATE, channels=2, started=EPOCH, block=BLOCK)
    heard = b""
    for number in range(25):
        due = (number + 1) * BLOCK / RATE + LAG
        while packets and packets[0][0] <= due:
            log.add(*packets.pop(0))
        keys = (AES,) if number < 5 else (AES, other)
        follower.follow([FollowedStream(path=log.path, channel=0, keys=SrtpKeys(keys=keys))])
        heard += follower.take()
    assert loud(np.frombuffer(heard, np.int16).reshape(-1, 2)[:, 0], 0.1, 4.9) > 0.99


async def test_the_child_finds_the_keys_in_the_journal(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path)
    key = base64.b64encode(AES.key).decode()
    crypto = [{"tag": 1, "suite": AES.suite, "key": key, "mki_size": 0}]
    journal.write(OPENED, source="siprec")
    codecs = {"8": "PCMA/8000"}
    journal.write(STREAM, index=0, port=4000, label="1", active=True, codecs=codecs, parameters={}, crypto=crypto)
    began = time.time()
    path = journal.folder / "0.rtpdump"
    log = PacketLogWriter(path, address="127.0.0.1", port=4000, started=began)

    async def speak() -> None:
        for at, data in encrypted(AES, 5):
            await asyncio.sleep(max(0.0, began + at - time.time()))
            log.append(b"".join(encode_record(data, round((time.time() - began) * 1000))))
        journal.write(CLOSED, by="client")

    speaking = asyncio.create_task(speak())
    async with asyncio.timeout(60), ListeningPost(tmp_path).open(journal.capture_id) as pieces:
        heard = b"".join([piece async for piece in pieces])
    await speaking
    samples = np.frombuffer(heard[44 : 44 + (len(heard) - 44) // 4 * 4], np.int16).reshape(-1, 2)[:, 0]
    spoken = samples[np.abs(samples.astype(int)) > 0]
    assert len(spoken) > 2 * RATE
    assert abs(pitch(spoken[-RATE:]) - 440) < 5
