"""The source against an Asterisk that answers as the live one did: taps, refusals, disconnections, leftovers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from agent.model import CapturedCall, Disposition, SourceState
from agent.sip.asterisk.callmaker import FOUND, LOST
from agent.sip.asterisk.following import Patience
from agent.sip.calls import stream_plans
from agent.sip.journal import KEY, read_journal
from agent.sip.lines.linecalls import KeyRules
from agent.sip.sounding import holds
from tests.asterisk.bench import FAST, Bench, Lab, open_lab, running, until
from tests.asterisk.pbx import SECRET, fake_asterisk
from tests.asterisk.world import ticks


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path_factory.mktemp("asterisk") / "captures") as one:
        yield one


@pytest.fixture
async def bench(lab: Lab) -> AsyncIterator[Bench]:
    async with fake_asterisk() as pbx, lab.new_bench(pbx) as one:
        yield one


async def test_both_voices_of_a_call_come_and_nothing_of_ours_is_left(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", speed=4)
        (call,) = await bench.all_ended()
    assert (call.source, call.key, call.disposition) == ("asterisk:office", "1795317594.0", Disposition.ANSWERED)
    assert [(one.value, one.channel) for one in call.parties] == [("79161234567", 0), ("101", 1)]
    assert call.flags == () and not call.truncated
    plans = stream_plans(read_journal(bench.folder / str(call.capture_id)))
    assert sorted((one.channel, one.label) for one in plans) == [
        (0, "79161234567 1795317594.0"),
        (1, "101 1795317594.1"),
    ]
    assert all(one.codecs == {"8": "PCMA/8000"} for one in plans)
    assert min(bench.packets(call)) > 20 * 172 and len(bench.packets(call)) == 2


async def test_a_call_stands_open_while_it_rings_and_is_tapped_when_it_is_answered(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=0.5, speed=FAST)
        await until(lambda: bool(bench.calls()))
        (ringing,) = bench.calls()
        assert ringing.disposition is Disposition.IN_PROGRESS and ringing.answered is None
        assert not bench.pbx.tapped
        await bench.pbx.play("inbound_answered", since=0.5, until=2, speed=FAST)
        await until(lambda: bench.pbx.tapped == {"1795317594.0", "1795317594.1"})
        (talking,) = bench.calls()
        assert talking.answered is not None and talking.ended is None


async def test_a_missed_call_has_no_sound(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_missed", speed=FAST)
        (call,) = await bench.all_ended()
    assert call.disposition is Disposition.NO_ANSWER and bench.packets(call) == [] and call.flags == ()


@pytest.mark.parametrize("trace", ["attended_transfer", "blind_transfer"])
async def test_a_transfer_is_one_recording_with_each_voice_apart(bench: Bench, trace: str) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play(trace, speed=8)
        call, *others = await bench.all_ended(2 if trace == "attended_transfer" else 1)
    assert [(one.value, one.channel) for one in call.parties] == [("79161234567", 0), ("101", 1), ("102", 2)]
    plans = stream_plans(read_journal(bench.folder / str(call.capture_id)))
    assert [one.channel for one in sorted(plans, key=lambda one: one.channel)] == [0, 1, 2]
    assert len(bench.packets(call)) == 3 and call.details["credited"] == "102"
    assert [bench.packets(one) for one in others] == [[]] * len(others)  # the consultation is internal
    assert {one.conversation_key for one in others} <= {call.key}


async def test_internal_calls_are_recorded_only_where_wanted(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("internal_call", speed=FAST)
        await bench.all_ended()
    async with running(bench.source(record_internal=True)):
        await until(lambda: bench.pbx.listeners == 1)
        await bench.pbx.play("internal_call", speed=4)
        calls = await bench.all_ended(2)
    assert [len(bench.packets(one)) for one in calls] == [0, 2]


async def test_a_hold_is_silence_to_be_expected(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("hold_resume", speed=6)
        (call,) = await bench.all_ended()
    facts = read_journal(bench.folder / str(call.capture_id))
    assert call.ended is not None
    (hold,) = holds(facts, stream_plans(facts), call.ended)
    assert hold.channel == 1 and hold.end - hold.start == pytest.approx(3.0 / 6, abs=0.2)


@pytest.mark.parametrize(
    ("refused", "status"),
    [("POST snoop", 409), ("POST externalMedia", 500), ("POST bridges", 400), ("POST addChannel", 422)],
)
async def test_what_cannot_be_tapped_is_a_flag_and_leaves_nothing(bench: Bench, refused: str, status: int) -> None:
    bench.pbx.refusals[refused] = status
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: any("could not be recorded" in flag for flag in bench.calls()[0].flags))
        await until(lambda: not bench.pbx.leftovers)
        assert all(SECRET not in flag and "-tap-" not in flag for flag in bench.calls()[0].flags)
        await bench.pbx.play("inbound_answered", since=2, speed=FAST)
        (call,) = await bench.all_ended()
    assert call.disposition is Disposition.ANSWERED and bench.states[-1][0] is SourceState.RUNNING
    assert not any(method == "DELETE" and "1795317594" in path for method, path, _ in bench.pbx.requests)


async def test_a_refusal_that_passes_is_tried_again(bench: Bench) -> None:
    bench.pbx.refusals["POST snoop"] = 500
    async with running(bench.source()):
        await bench.is_running()
        playing = asyncio.create_task(bench.pbx.play("inbound_answered", speed=3))
        await until(lambda: sum(path.endswith("snoop") for _, path, _ in bench.pbx.requests) >= 2)
        bench.pbx.refusals.clear()
        await until(lambda: len(bench.pbx.tapped) == 2)
        await playing
        (call,) = await bench.all_ended()
    assert call.flags == () and len(bench.packets(call)) == 2


async def test_a_channel_that_is_slow_to_enter_the_application_is_waited_for(bench: Bench) -> None:
    bench.pbx.refusals["POST addChannel"] = 409
    async with running(bench.source()):
        await bench.is_running()
        playing = asyncio.create_task(bench.pbx.play("inbound_answered", until=3, speed=3))
        await until(lambda: sum(path.endswith("addChannel") for _, path, _ in bench.pbx.requests) >= 3)
        bench.pbx.refusals.clear()
        await until(lambda: len(bench.pbx.tapped) == 2)
        assert sum(path.endswith("snoop") for _, path, _ in bench.pbx.requests) == 2
        await playing


async def test_sound_that_does_not_come_is_said_loudly(bench: Bench) -> None:
    bench.pbx.is_mute = True
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", speed=3)
        (call,) = await bench.all_ended()
    assert call.flags == ("no sound came although the call was answered",)


async def test_a_user_who_may_only_read_is_noticed_and_calls_are_followed(bench: Bench) -> None:
    bench.pbx.read_only = True
    async with running(bench.source()):
        await until(lambda: bool(bench.states) and bench.states[-1][0] is SourceState.LOGIN_FAILED)
        assert "read_only" in bench.states[-1][1]
        await bench.pbx.play("inbound_missed", speed=FAST)
        (call,) = await bench.all_ended()
    assert call.disposition is Disposition.NO_ANSWER


async def test_a_wrong_password_a_dead_server_and_a_wrong_address_are_told_apart(bench: Bench) -> None:
    async with running(bench.source(secret="wrong")):
        await until(lambda: bool(bench.states) and bench.states[-1][0] is SourceState.LOGIN_FAILED)
    async with running(bench.source(url=bench.pbx.url.replace("/ari", "/nowhere"))):
        await until(lambda: bench.states[-1][0] is SourceState.UNREACHABLE)
    await bench.pbx.stop()
    async with running(bench.source()):
        await until(lambda: bench.states[-1][0] is SourceState.UNREACHABLE)
        await bench.pbx.start()
        await bench.is_running()


async def test_taps_outlive_a_broken_websocket_and_an_end_meanwhile_is_noticed(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        before = set(bench.pbx.leftovers)
        await bench.pbx.hang_up_sockets()
        await until(lambda: bench.pbx.listeners == 1)
        await bench.is_running()
        assert set(bench.pbx.leftovers) == before and len(bench.calls()) == 1
        patience = time.monotonic()
        bench.pbx.port, port = 1, bench.pbx.port
        await bench.pbx.hang_up_sockets()
        await bench.pbx.play("inbound_answered", since=2, speed=100)
        bench.pbx.port = port
        (call,) = await bench.all_ended()
        assert time.monotonic() - patience < 15
    assert call.disposition is Disposition.ANSWERED and call.ended is not None
    assert call.ended <= datetime.now(UTC)


async def test_a_call_that_ended_while_we_were_away_ends_with_the_last_sign_of_life(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        seen = datetime.now(UTC)
        await bench.pbx.stop()
        await until(lambda: bench.states[-1][0] is SourceState.UNREACHABLE)
        bench.pbx.world = type(bench.pbx.world)()
        await bench.pbx.start()
        (call,) = await bench.all_ended()
    assert call.flags == (LOST,) and not call.truncated
    assert call.ended is not None and abs(call.ended - seen) < timedelta(seconds=1.5)


async def test_a_transfer_while_we_were_away_is_found_out(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("attended_transfer", until=3, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        bench.pbx.is_closed = True
        await bench.pbx.hang_up_sockets()
        away = datetime.now(UTC)
        await bench.pbx.play("attended_transfer", since=3, until=10, speed=FAST)
        bench.pbx.is_closed = False
        back = datetime.now(UTC)
        await until(lambda: bench.pbx.tapped == {"1795317651.9", "1795317655.12"})
        await bench.pbx.play("attended_transfer", since=10, speed=FAST)
        (call,) = await bench.all_ended()
    client, anna, boris = call.parties
    assert call.key == "1795317651.9" and call.flags == () and call.disposition is Disposition.ANSWERED
    assert [one.value for one in call.parties] == ["79161234567", "101", "102"]
    assert anna.left is not None and anna.left <= away + timedelta(seconds=0.1)
    assert boris.joined is not None and boris.joined >= back - timedelta(seconds=0.1)
    assert client.joined == anna.joined and len(bench.packets(call)) == 3


async def test_a_stop_in_the_moment_after_a_call_leaves_it_whole(bench: Bench) -> None:
    async with running(bench.source(Patience(linger=30, first_pause=0.05))):
        await bench.is_running()
        await bench.pbx.play("inbound_missed", speed=FAST)
        await until(lambda: bool(bench.calls()) and bench.calls()[0].ended is not None)
    await bench.taps.stop()
    (call,) = bench.calls()
    assert not call.truncated and call.disposition is Disposition.NO_ANSWER


async def test_taps_lost_with_the_connection_are_made_again(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        await bench.pbx.hang_up_sockets()
        for name in bench.pbx.leftovers:
            bench.pbx.world.channels.pop(name, None)
            bench.pbx.world.bridges.pop(name, None)
        for task in bench.pbx._senders.values():
            task.cancel()
        bench.pbx._senders.clear()
        await until(lambda: len(bench.pbx.tapped) == 2)
        await bench.pbx.play("inbound_answered", since=5.5, speed=1)
        (call,) = await bench.all_ended()
    plans = stream_plans(read_journal(bench.folder / str(call.capture_id)))
    assert sorted(one.channel for one in plans) == [0, 0, 1, 1] and call.flags == ()


async def test_a_killed_run_s_leftovers_are_removed_and_its_call_gets_a_new_capture(bench: Bench) -> None:
    source = bench.source()
    source.start()
    await bench.is_running()
    await bench.pbx.play("inbound_answered", until=2, speed=FAST)
    await until(lambda: len(bench.pbx.tapped) == 2)
    before = set(bench.pbx.leftovers)
    for task in (*source._tasks, source._main):  # as a kill would: no farewell
        assert task is not None
        task.cancel()
    await until(lambda: bench.pbx.listeners == 0)
    asked = len(bench.pbx.requests)
    async with running(bench.source()):
        await until(lambda: len(bench.pbx.tapped) == 2 and not before & set(bench.pbx.leftovers))
        await bench.pbx.play("inbound_answered", since=5.5, speed=1)
        await until(lambda: len(bench.teller.ended) == 1)
    since = list(enumerate(bench.pbx.requests[asked:]))
    removed = [at for at, (method, path, _) in since if method == "DELETE" and path.rpartition("/")[2] in before]
    tapped = [at for at, (method, path, _) in since if method == "POST" and "snoop" in path]
    assert max(removed) < min(tapped)  # the old ones still send, and not into the ports of the new ones
    first, second = sorted(bench.calls(), key=lambda call: call.capture_id in bench.teller.ended)
    assert first.key == second.key == "1795317594.0" and first.capture_id != second.capture_id
    assert second.flags == (FOUND,) and second.disposition is Disposition.ANSWERED
    assert [one.value for one in second.parties] == ["79161234567", "101"] and len(bench.packets(second)) == 2


async def test_a_wrong_clock_at_the_pbx_shifts_no_call(bench: Bench) -> None:
    bench.pbx.clock_ahead = 3600.0
    async with running(bench.source()):
        await bench.is_running()
        began = datetime.now(UTC)
        await bench.pbx.play("inbound_missed", speed=FAST)
        (call,) = await bench.all_ended()
    assert abs(call.started - began) < timedelta(seconds=3)


async def test_another_program_under_our_name_is_said(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.happen({"type": "ApplicationReplaced", "timestamp": datetime.now(UTC).isoformat()})
        await until(lambda: bench.states[-1][0] is SourceState.UNREACHABLE)
    assert "app" in bench.states[-1][1]


async def test_a_stop_takes_the_taps_away(bench: Bench) -> None:
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
    assert not bench.pbx.leftovers and bench.pbx.listeners == 0
    await bench.taps.stop()
    (call,) = bench.calls()
    assert call.truncated and call.disposition is Disposition.ANSWERED


async def test_keys_are_marks_and_a_code_is_told_at_once(bench: Bench) -> None:
    codes: list[tuple[str, str]] = []
    bench.keys = KeyRules(mask=True, codes={"*1": "pause"}, on_code=lambda capture, name, at: codes.append((name, "")))
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        await until(lambda: len(bench.pbx.tapped) == 2)
        for digit in "7*1":
            channel = bench.pbx.world.channels["1795317594.1"]
            at = ticks(datetime.now(UTC), 0)
            event = {"type": "ChannelDtmfReceived", "timestamp": at, "digit": digit, "channel": channel}
            await bench.pbx.happen({**event, "duration_ms": 120})
        await until(lambda: len(codes) == 1)
        await bench.pbx.play("inbound_answered", since=2, speed=FAST)
        (call,) = await bench.all_ended()
    pressed = [fact.data for fact in read_journal(bench.folder / str(call.capture_id)) if fact.kind == KEY]
    assert codes == [("pause", "")] and pressed == [{"channel": 1, "digit": ""}] * 3  # masked


async def test_a_full_disk_ends_nothing(bench: Bench) -> None:
    def full(_: CapturedCall) -> None:
        raise OSError(28, "No space left on device")

    really = bench.taps.open
    bench.taps.open = full  # type: ignore[method-assign,assignment]
    async with running(bench.source()):
        await bench.is_running()
        await bench.pbx.play("inbound_answered", until=2, speed=FAST)
        assert bench.calls() == []
        bench.taps.open = really  # type: ignore[method-assign]
        await bench.pbx.play("inbound_answered", since=2, speed=FAST)
        (call,) = await bench.all_ended()
    assert call.disposition is Disposition.ANSWERED
