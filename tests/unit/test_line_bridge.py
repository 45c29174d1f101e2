"""What a line does with a call: what one side does is handed to the other, truly and once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sip.lines.bridge import Action, Answer, Bridge, Dial, HangUp, Over, Talk, handed_back
from agent.sip.lines.words import CALLEE, CALLER


def dialled() -> Bridge:
    bridge = Bridge()
    assert bridge.dial() == (Dial(),)
    assert bridge.dial() == ()
    return bridge


def test_an_answered_call() -> None:
    bridge = dialled()
    assert bridge.rings(180, with_sound=False) == (Answer(status=180),)
    assert bridge.rings(180, with_sound=False) == ()
    assert bridge.answers() == (Answer(status=200), Talk())
    assert bridge.answers() == ()
    end = (HangUp(side=CALLEE, status=487), Over(by=CALLER, status=200, reason="bye"))
    assert bridge.leaves(CALLER, 200, "bye") == end
    assert not bridge.is_empty
    assert bridge.leaves(CALLEE, 200, "bye") == () and bridge.is_empty


def test_early_media_is_told_as_such_and_ringing_does_not_silence_it() -> None:
    bridge = dialled()
    assert bridge.rings(180, with_sound=True) == (Answer(status=183),)
    assert bridge.rings(180, with_sound=False) == ()
    assert bridge.rings(182, with_sound=False) == (Answer(status=182),)
    assert bridge.rings(100, with_sound=False) == ()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(486, 486), (603, 603), (404, 404), (480, 480), (503, 503), (302, 480), (401, 503), (407, 503), (0, 503)],
)
def test_a_refusal_is_handed_back(theirs: int, ours: int) -> None:
    refusal = (HangUp(side=CALLER, status=ours), Over(by=CALLEE, status=theirs, reason="no"))
    assert dialled().leaves(CALLEE, theirs, "no") == refusal
    assert handed_back(theirs) == ours


def test_a_caller_who_gives_up() -> None:
    over = Over(by=CALLER, status=487, reason="cancel")
    assert dialled().leaves(CALLER, 487, "cancel") == (HangUp(side=CALLEE, status=487), over)
    bridge = Bridge()  # before anybody was called
    assert bridge.leaves(CALLER, 487, "cancel") == (over,)
    assert bridge.is_empty and bridge.dial() == ()


def test_an_answer_that_crosses_the_goodbye_connects_nobody() -> None:
    bridge = dialled()
    bridge.leaves(CALLER, 487, "cancel")
    assert bridge.answers() == ()


def test_the_line_gives_up() -> None:
    bridge = dialled()
    wanted = [HangUp(side=CALLER, status=408), HangUp(side=CALLEE, status=408), Over(by="line", status=408, reason="r")]
    assert list(bridge.give_up(408, "r")) == wanted
    assert bridge.give_up(408, "r") == ()


_HAPPENINGS = st.one_of(
    st.just(("dial",)),
    st.tuples(st.just("rings"), st.integers(0, 700), st.booleans()),
    st.just(("answers",)),
    st.tuples(st.just("leaves"), st.sampled_from([CALLER, CALLEE]), st.integers(0, 700)),
    st.tuples(st.just("give_up"), st.integers(300, 699)),
)


@given(st.lists(_HAPPENINGS, max_size=12))
def test_whatever_happens_a_call_ends_once_and_nothing_follows(happenings: list[tuple[object, ...]]) -> None:
    bridge, done = Bridge(), list[Action]()
    for name, *values in happenings:
        told: Sequence[Action]
        match name, values:
            case "rings", [int(status), bool(sound)]:
                told = bridge.rings(status, with_sound=sound)
            case "leaves", [str(side), int(status)]:
                told = bridge.leaves(side, status, "")
            case "give_up", [int(status)]:
                told = bridge.give_up(status, "")
            case _:
                told = bridge.dial() if name == "dial" else bridge.answers()
        done += told
    ends = [at for at, action in enumerate(done) if isinstance(action, Over)]
    assert len(ends) <= 1 and all(at == len(done) - 1 for at in ends)
    assert sum(action == Answer(status=200) for action in done) <= 1
    assert sum(isinstance(action, Dial) for action in done) <= 1
    refusals = [action.status for action in done if isinstance(action, HangUp) and action.side == CALLER]
    assert all(300 <= status < 700 for status in refusals)
