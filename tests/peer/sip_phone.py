"""A telephone for tests, made of pjsua2, in a process of its own: ``python -m tests.peer.sip_phone``.

The first line of its input is a JSON object: registrar, user, secret, tone (Hz it speaks), policy (what it does with a
call: answer, ring, early, or a status such as 486). Then one order a line: call, hang_up, answer, hold, unhold, press,
policy. It tells what happens, one JSON object a line, with the time; what it hears is written to ``heard``,
a WAV file, if that is given.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pjsua2 as pj

_STATES = {
    pj.PJSIP_INV_STATE_EARLY: "early",
    pj.PJSIP_INV_STATE_CONFIRMED: "talking",
    pj.PJSIP_INV_STATE_DISCONNECTED: "gone",
}


def say(fact: str, **data: Any) -> None:
    os.write(FACTS, json.dumps({"fact": fact, "at": time.time(), **data}).encode() + b"\n")


class Leg(pj.Call):  # type: ignore[misc]
    def __init__(self, phone: Phone, call: int = -1) -> None:
        super().__init__(phone.account, call)
        self.phone = phone

    def onCallState(self, prm: Any) -> None:  # noqa: N802 - named by pjsua2
        info = self.getInfo()
        if name := _STATES.get(info.state):
            say(name, status=int(info.lastStatusCode), reason=str(info.lastReason))
            if name == "gone":
                self.phone.todo.append(lambda: self.phone.legs.remove(self))

    def onCallMediaState(self, prm: Any) -> None:  # noqa: N802
        self.phone.todo.append(self.phone.connect)

    def onDtmfDigit(self, prm: Any) -> None:  # noqa: N802
        say("key", digit=str(prm.digit), method=int(prm.method))


class Account(pj.Account):  # type: ignore[misc]
    phone: Phone

    def onIncomingCall(self, prm: Any) -> None:  # noqa: N802
        leg = Leg(self.phone, prm.callId)
        self.phone.legs.append(leg)
        say("invited", invite=str(prm.rdata.wholeMsg))
        self.phone.todo.append(lambda: self.phone.treat(leg))

    def onRegState(self, prm: Any) -> None:  # noqa: N802
        say("registered", status=int(prm.code))


class Phone:
    def __init__(self, told: dict[str, Any]) -> None:
        self.told, self.todo, self.legs = told, deque[Callable[[], None]](), list[Leg]()
        self.endpoint = pj.Endpoint()
        config = pj.EpConfig()
        config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
        config.medConfig.clockRate, config.medConfig.ecTailLen, config.medConfig.noVad = 8000, 0, True
        config.logConfig.level = config.logConfig.consoleLevel = 0
        self.endpoint.libCreate()
        self.endpoint.libInit(config)
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, pj.TransportConfig())
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        for codec in told.get("codecs", []):
            self.endpoint.codecSetPriority(codec, 250)
        self.tone = pj.ToneGenerator()
        self.tone.createToneGenerator(8000)
        one, tones = pj.ToneDesc(), pj.ToneDescVector()
        one.freq1, one.on_msec, one.off_msec = told["tone"], 1000, 0
        tones.append(one)
        self.tone.play(tones, True)
        self.recorder = pj.AudioMediaRecorder() if told.get("heard") else None
        if self.recorder is not None:
            self.recorder.createRecorder(told["heard"])
        self.account = Account()
        self.account.phone = self
        self.account.create(self.account_config())

    def account_config(self) -> pj.AccountConfig:
        told, config = self.told, pj.AccountConfig()
        config.idUri = f"sip:{told['user']}@{told['registrar']}"
        config.regConfig.registrarUri = f"sip:{told['registrar']}"
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", told["user"], 0, told["secret"]))
        config.mediaConfig.transportConfig.port = told.get("rtp", 20000)
        config.mediaConfig.transportConfig.portRange = 900
        config.mediaConfig.lockCodecEnabled = False
        return config

    def connect(self) -> None:
        for leg in self.legs:
            try:
                audio = leg.getAudioMedia(-1)
                self.tone.startTransmit(audio)
                if self.recorder is not None:
                    audio.startTransmit(self.recorder)
            except pj.Error:
                continue

    def treat(self, leg: Leg) -> None:
        policy = self.told.get("policy", "answer")
        steps = {"answer": (180, 200), "ring": (180,), "early": (183,)}.get(str(policy)) or (int(policy),)
        for status in steps:
            prm = pj.CallOpParam(True)
            prm.statusCode = status
            (leg.hangup if status >= 300 else leg.answer)(prm)

    def obey(self, order: str, values: dict[str, Any]) -> None:
        if order == "call":
            leg, prm = Leg(self), pj.CallOpParam(True)
            for name, value in values.get("headers", {}).items():
                header = pj.SipHeader()
                header.hName, header.hValue = name, value
                prm.txOption.headers.append(header)
            self.legs.append(leg)
            leg.makeCall(values["uri"], prm)
        elif order == "policy":
            self.told["policy"] = values["policy"]
        for leg in tuple(self.legs):
            prm = pj.CallOpParam(True)
            if order == "hang_up":
                leg.hangup(pj.CallOpParam())
            elif order == "hold":
                leg.setHold(pj.CallOpParam())
            elif order == "unhold":
                prm.opt.flag = pj.PJSUA_CALL_UNHOLD
                leg.reinvite(prm)
            elif order == "press":
                leg.dialDtmf(values["digits"])
            elif order == "answer":
                prm.statusCode = 200
                leg.answer(prm)

    def close(self) -> None:
        self.todo.clear()
        self.endpoint.hangupAllCalls()
        for _ in range(20):
            self.endpoint.libHandleEvents(10)
        self.todo.clear()
        self.legs.clear()
        self.account.shutdown()
        del self.account, self.tone, self.recorder
        self.endpoint.libDestroy()


def main() -> None:
    phone = Phone(json.loads(sys.stdin.buffer.readline()))
    os.set_blocking(0, False)
    rest = b""
    while True:
        phone.endpoint.libHandleEvents(5)
        while phone.todo:
            phone.todo.popleft()()
        try:
            data = os.read(0, 65536)
        except BlockingIOError:
            continue
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            values = json.loads(line)
            phone.obey(values.pop("do"), values)
    phone.close()


if __name__ == "__main__":
    FACTS = os.dup(1)
    os.dup2(2, 1)
    main()
