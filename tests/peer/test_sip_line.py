"""Lines between telephones: Kamailio as the registrar, telephones of pjsua2 and baresip, both voices told apart."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from agent.model import Disposition, MarkKind, SourceState
from agent.sip.assembler import _Made
from tests.peer.sip_lab import (
    CLIENT,
    CLIENT_HZ,
    MANAGER,
    MANAGER_HZ,
    Telephone,
    exchange,
    free_port,
    kamailio,
    line_settings,
    loudness,
    onset,
    telephone,
    tone_in,
    until,
)
from tests.peers import require

pytest.importorskip("pjsua2", reason="pjsua2 has no wheel for this Python, so there are no lines")

CALLS = 20
TORTURE = Path(__file__).parents[1] / "data" / "rfc4475"
ANNOUNCEMENT_HZ, BEEP_HZ = 2500, 1400
CLOSE = 0.1  # seconds by which a time may be wrong


@dataclass
class Scene:
    """Who is there: the registrar, a client, a manager."""

    registrar: str
    client: Telephone
    manager: Telephone
    folder: Path

    def dial(self, user: str = "901", **headers: str) -> None:
        """The client calls a line."""
        self.client.order("call", uri=f"sip:{user}@{self.registrar}", headers=headers)

    async def fresh(self, policy: str = "answer") -> None:
        """Nobody is in a call; the manager treats the next ones like this."""
        for one in (self.client, self.manager):
            one.forget()
        self.manager.order("policy", policy=policy)


@pytest.fixture(scope="module")
async def phones(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("sip")
    async with AsyncExitStack() as stack:
        registrar = await stack.enter_async_context(kamailio(folder))
        codecs = ["PCMA/8000"]
        client = await stack.enter_async_context(
            telephone(registrar, CLIENT, CLIENT_HZ, rtp=22000, codecs=codecs, heard=str(folder / "client.wav"))
        )
        manager = await stack.enter_async_context(telephone(registrar, MANAGER, MANAGER_HZ, codecs=codecs))
        yield Scene(registrar, client, manager, folder)


@pytest.fixture
async def scene(phones: Scene) -> Scene:
    await phones.fresh()
    return phones


def write_tone(path: Path, hertz: int, *, seconds: float) -> None:
    """What an administrator would have recorded: PCM of 16 bits, one channel."""
    samples = 8000 * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.astype(np.int16).tobytes())


def seconds(moment: datetime | None) -> float:
    assert moment is not None
    return moment.timestamp()


def each_has_his_own_voice(made: _Made, *, client: int = 0) -> None:
    """Both tones, each on its channel and not on the other one."""
    for channel, hertz, other in ((client, CLIENT_HZ, MANAGER_HZ), (1 - client, MANAGER_HZ, CLIENT_HZ)):
        assert loudness(made, channel, hertz) > 5000
        assert loudness(made, channel, other) < 50


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_calls_in_a_row(scene: Scene, tmp_path: Path, transport: str) -> None:
    heard: list[dict[str, float]] = []
    async with exchange(tmp_path, line_settings(scene.registrar, transport=transport)) as x:
        await x.is_up()
        for number in range(CALLS // 2):
            await scene.fresh()
            scene.dial()
            invited = await scene.manager.sees("invited")
            answered = await scene.client.sees("talking")
            await asyncio.sleep(0.7)  # they talk
            (scene.client if number % 2 else scene.manager).order("hang_up")
            ended = await scene.manager.sees("gone")
            await scene.client.sees("gone")
            heard.append({"invited": invited["at"], "answered": answered["at"], "ended": ended["at"]})
        calls = [await x.call(number) for number in range(CALLS // 2)]
    assert len({call.key for call, _ in calls}) == CALLS // 2
    for (call, made), told in zip(calls, heard, strict=True):
        assert call.disposition is Disposition.ANSWERED and not call.truncated and not call.flags
        assert [(one.value, one.channel) for one in call.parties] == [(CLIENT, 0), (MANAGER, 1)]
        assert abs(seconds(call.started) - told["invited"]) < CLOSE
        assert abs(seconds(call.answered) - told["answered"]) < CLOSE
        assert abs(seconds(call.ended) - told["ended"]) < CLOSE
        each_has_his_own_voice(made)
        assert abs(made.assembled.seconds - (told["ended"] - told["answered"])) < CLOSE
        assert abs(made.started.timestamp() - told["answered"]) < CLOSE
        assert max(onset(made, channel) for channel in (0, 1)) < 2 * CLOSE  # a jitter buffer is in between


@pytest.mark.parametrize(
    ("policy", "status", "disposition"),
    [("486", 486, Disposition.BUSY), ("603", 603, Disposition.BUSY), ("480", 480, Disposition.NO_ANSWER)],
)
async def test_the_manager_refuses_and_the_caller_hears_the_same(
    scene: Scene, tmp_path: Path, policy: str, status: int, disposition: Disposition
) -> None:
    await scene.fresh(policy)
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        scene.dial()
        assert (await scene.client.sees("gone"))["status"] == status
        call, made = await x.call(0)
    assert (call.disposition, call.answered, call.details["status"]) == (disposition, None, status)
    assert made.assembled.packets == 0


async def test_nobody_answers_and_the_caller_gives_up(scene: Scene, tmp_path: Path) -> None:
    await scene.fresh("ring")
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        scene.dial()
        assert (await scene.client.sees("early"))["status"] == 180
        scene.client.order("hang_up")
        assert (await scene.manager.sees("gone"))["status"] == 487
        call, _ = await x.call(0)
    assert (call.disposition, call.details["ended_by"]) == (Disposition.NO_ANSWER, "caller")


async def test_a_manager_who_is_not_there(scene: Scene, tmp_path: Path) -> None:
    async with exchange(tmp_path, line_settings(scene.registrar, extension="199")) as x:
        await x.is_up()
        scene.dial()
        assert (await scene.client.sees("gone"))["status"] == 404
        call, _ = await x.call(0)
    assert call.disposition is Disposition.FAILED


async def test_early_media_is_heard_and_kept(scene: Scene, tmp_path: Path) -> None:
    await scene.fresh("early")
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        scene.dial()
        assert (await scene.client.sees("early"))["status"] == 183
        await asyncio.sleep(0.8)  # the announcement
        scene.manager.order("answer")
        await scene.client.sees("talking")
        await asyncio.sleep(0.5)
        scene.client.order("hang_up")
        call, made = await x.call(0)
    early = next(mark for mark in made.marks if mark.kind is MarkKind.EARLY_MEDIA)
    assert abs(early.end_ms / 1000 - (seconds(call.answered) - made.started.timestamp())) < CLOSE
    assert loudness(made, 1, MANAGER_HZ, start=0.3, end=0.7) > 5000


async def test_keys_and_hold(scene: Scene, tmp_path: Path) -> None:
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        scene.dial()
        await scene.client.sees("talking")
        await scene.manager.sees("talking")
        scene.client.order("press", digits="5#")
        assert (await scene.manager.sees("key"))["digit"] == "5"
        assert (await scene.manager.sees("key", count=2))["digit"] == "#"
        scene.manager.order("press", digits="*")
        assert (await scene.client.sees("key"))["digit"] == "*"
        await asyncio.sleep(0.3)  # until he lets go of it: with a new stream in between it would count twice
        for order in ("hold", "unhold"):
            scene.manager.order(order)
            await asyncio.sleep(0.5)
        await asyncio.sleep(0.4)
        scene.client.order("hang_up")
        call, made = await x.call(0)
    keys = [(mark.channel, mark.text) for mark in made.marks if mark.kind is MarkKind.DTMF]
    assert keys == [(0, "5"), (0, "#"), (1, "*")]
    (hold,) = (mark for mark in made.marks if mark.kind is MarkKind.HOLD)
    assert hold.channel == 1 and abs(hold.end_ms - hold.start_ms - 500) < 1000 * CLOSE
    span = seconds(call.ended) - seconds(call.answered)
    assert abs(made.assembled.seconds - span) < CLOSE  # the hold is in it
    assert loudness(made, 0, CLIENT_HZ, start=made.assembled.seconds - 0.5) > 5000  # the connection is back
    assert loudness(made, 1, MANAGER_HZ, start=made.assembled.seconds - 0.4) > 5000


async def test_a_third_call_while_the_line_is_full(scene: Scene, tmp_path: Path) -> None:
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        for count in (1, 2):
            scene.dial()
            await scene.client.sees("talking", count=count)
        await until(lambda: x.states[-1][2] == "2 of 2 calls, full", "the line says so")
        scene.dial()
        assert (await scene.client.sees("gone"))["status"] == 486
        await asyncio.sleep(0.8)
        scene.client.order("hang_up")
        calls = [await x.call(number) for number in (0, 1)]
        await until(lambda: x.states[-1][1:] == (SourceState.RUNNING, ""), "there is room again")
    for call, made in calls:
        assert call.disposition is Disposition.ANSWERED
        each_has_his_own_voice(made)


async def test_two_lines_at_once(scene: Scene, tmp_path: Path) -> None:
    other = line_settings(scene.registrar, name="Boris", user="902", secret="secret-902")
    async with exchange(tmp_path, line_settings(scene.registrar), other) as x:
        for name in ("Anna", "Boris"):
            await x.is_up(name)
        for count, user in enumerate(("901", "902"), 1):
            scene.dial(user)
            await scene.client.sees("talking", count=count)
        await asyncio.sleep(0.8)
        scene.client.order("hang_up")
        calls = [await x.call(number) for number in (0, 1)]
    assert {call.source for call, _ in calls} == {"line:Anna", "line:Boris"}
    for _, made in calls:
        each_has_his_own_voice(made)


async def test_both_hear_that_they_are_recorded(scene: Scene, tmp_path: Path) -> None:
    announcement, heard = tmp_path / "recorded.wav", scene.folder / "client.wav"
    write_tone(announcement, ANNOUNCEMENT_HZ, seconds=0.6)
    before = heard.stat().st_size
    async with exchange(tmp_path, line_settings(scene.registrar, announcement=announcement, beep_s=1)) as x:
        await x.is_up()
        scene.dial()
        await scene.client.sees("talking")
        await asyncio.sleep(2.6)  # with two short tones
        scene.client.order("hang_up")
        call, made = await x.call(0)
    sound = np.frombuffer(heard.read_bytes()[before + before % 2 :], np.int16)
    assert 0.4 <= tone_in(sound, 8000, ANNOUNCEMENT_HZ) <= 0.8
    assert 0.3 <= tone_in(sound, 8000, BEEP_HZ) <= 1.2  # 200 ms each, and not all the time
    assert call.flags == ()
    each_has_his_own_voice(made)  # and nothing of ours is in the recording


async def test_a_registrar_that_was_started_again(scene: Scene, tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        registrar = await first.enter_async_context(kamailio(tmp_path, port))
        x = await stack.enter_async_context(exchange(tmp_path, line_settings(registrar, transport="tcp")))
        await x.is_up()
        await first.aclose()
        await until(lambda: x.states[-1][1] is SourceState.UNREACHABLE, f"the line says so: {x.states}")
        await stack.enter_async_context(kamailio(tmp_path, port))
        await x.is_up(times=2)


async def test_a_wrong_password_and_a_registrar_that_is_not_there(scene: Scene, tmp_path: Path) -> None:
    wrong = line_settings(scene.registrar, secret="wrong")
    away = line_settings("127.0.0.1:1", name="Away", transport="tcp")
    async with exchange(tmp_path, wrong, away) as x:
        wanted = {("line:Anna", SourceState.LOGIN_FAILED), ("line:Away", SourceState.UNREACHABLE)}
        await until(lambda: wanted <= {one[:2] for one in x.states}, f"both say so: {x.states}")
    details = {state: detail for _, state, detail in x.states}
    assert "secret" in details[SourceState.LOGIN_FAILED] and "wrong" not in details[SourceState.LOGIN_FAILED]


async def test_the_process_is_killed_in_the_middle_of_a_call(scene: Scene, tmp_path: Path) -> None:
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        scene.dial()
        await scene.client.sees("talking")
        await asyncio.sleep(2.0)
        pid = x.lines.keepers["line:Anna"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        cut, made = await x.call(0)
        await x.is_up(times=2)
        scene.client.order("hang_up")  # nobody has told him that the call is over
        await scene.client.sees("gone")
        scene.manager.order("hang_up")
        await scene.manager.sees("gone")
        await scene.fresh()
        scene.dial()
        await scene.client.sees("talking")
        await asyncio.sleep(0.6)
        scene.client.order("hang_up")
        again, made_again = await x.call(1)
    assert cut.truncated and cut.disposition is Disposition.ANSWERED
    assert made.assembled.seconds > 1.5  # at most the last second is lost
    each_has_his_own_voice(made)
    assert not again.truncated
    each_has_his_own_voice(made_again)


async def test_no_datagram_ends_the_process(scene: Scene, tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    torture = [path.read_bytes() for path in sorted(TORTURE.glob("*.dat"))]
    assert torture
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        keeper = x.lines.keepers["line:Anna"]
        pid = keeper.pid
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))  # from here nobody may call
            for one in torture:
                stranger.sendto(one, ("127.0.0.1", keeper.port))
                cut = bytearray(one[: int(random.integers(1, len(one) + 1))])
                cut[int(random.integers(len(cut)))] ^= 0x55
                stranger.sendto(cut, ("127.0.0.1", keeper.port))
                await asyncio.sleep(0.005)
        scene.dial()
        await scene.client.sees("talking")
        await asyncio.sleep(0.7)
        scene.client.order("hang_up")
        call, made = await x.call(0)
        assert keeper.pid == pid and len(x.ended) == 1  # nothing of all that was a call
    assert call.disposition is Disposition.ANSWERED
    each_has_his_own_voice(made)


async def test_a_stop_says_goodbye(scene: Scene, tmp_path: Path) -> None:
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        scene.dial()
        await scene.client.sees("talking")
    for one in (scene.client, scene.manager):
        await one.sees("gone")
    call, _ = await x.call(0)
    assert call.details["ended_by"] == "line" and not call.truncated
    scene.dial()
    assert (await scene.client.sees("gone", count=2))["status"] == 404  # it has taken its registration back


async def test_a_telephone_of_somebody_else(scene: Scene, tmp_path: Path) -> None:
    baresip, folder = require("baresip"), tmp_path / "baresip"
    folder.mkdir()
    modules = ("g711.so", "ausine.so", "aubridge.so", "account.so", "menu.so")
    config = ["sip_listen 127.0.0.1:0", f"audio_source ausine,{CLIENT_HZ}", "audio_player aubridge,nowhere"]
    config += ["ausrc_srate 48000", "ausrc_channels 2"]  # which the sine wants
    config += [f"module {name}" if name != "account.so" else "module_app account.so" for name in modules]
    (folder / "config").write_text("\n".join(["module_path /usr/lib/baresip/modules", *config]) + "\n")
    account = f"<sip:+74950000077@{scene.registrar}>;auth_pass=secret-+74950000077;regint=0;audio_codecs=PCMA"
    (folder / "accounts").write_text(account + "\n")
    async with exchange(tmp_path / "captures", line_settings(scene.registrar)) as x:
        await x.is_up()
        process = await asyncio.create_subprocess_exec(
            *(baresip, "-f", str(folder), "-t", "3", "-e", f"/dial sip:901@{scene.registrar}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=(tmp_path / "baresip.log").open("wb"),
            stderr=asyncio.subprocess.STDOUT,
        )
        await scene.manager.sees("talking")
        await process.wait()
        call, made = await x.call(0)
    assert call.parties[0].value == "+74950000077" and call.details["ended_by"] == "caller"
    each_has_his_own_voice(made)


async def test_a_pause_leaves_no_sound(scene: Scene, tmp_path: Path) -> None:
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        scene.dial()
        await scene.client.sees("talking")
        await asyncio.sleep(0.6)
        (tap,) = x.taps.open_taps()
        assert tap.on_pause is not None
        tap.on_pause(True)
        await asyncio.sleep(1.0)
        tap.on_pause(False)
        await asyncio.sleep(0.6)
        scene.client.order("hang_up")
        _, made = await x.call(0)
    for channel, hertz in ((0, CLIENT_HZ), (1, MANAGER_HZ)):
        assert loudness(made, channel, hertz, start=0.3, end=0.5) > 5000
        assert loudness(made, channel, hertz, start=0.8, end=1.5) < 5
        assert loudness(made, channel, hertz, start=1.9) > 5000


async def test_the_manager_dials_out_through_the_line(scene: Scene, tmp_path: Path) -> None:
    async with exchange(tmp_path, line_settings(scene.registrar)) as x:
        await x.is_up()
        uri = f"sip:901@{scene.registrar}"
        scene.manager.order("call", uri=uri, headers={"X-Cardline-Dial": CLIENT})
        await scene.manager.sees("talking")
        await asyncio.sleep(0.7)
        scene.manager.order("hang_up")
        call, made = await x.call(0)
    assert [one.value for one in call.parties] == [MANAGER, CLIENT]
    each_has_his_own_voice(made, client=1)
