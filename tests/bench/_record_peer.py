"""A process of the peer: pjsua2 answers calls and its native recorder writes each as WAV. Prints its SIP port.

It holds four calls; every object of the library stays on this thread and is held for as long as the process lives.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pjsua2 as pj

CALLS = 4


class Account(pj.Account):  # type: ignore[misc]
    """Answers every call."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.calls: list[Call] = []

    def onIncomingCall(self, prm: Any) -> None:  # noqa: N802 - the library's name
        call = Call(self, prm.callId)
        self.calls.append(call)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


class Call(pj.Call):  # type: ignore[misc]
    """Recorded from the moment its sound may come."""

    def __init__(self, account: Account, number: int) -> None:
        super().__init__(account, number)
        self.path = account.folder / f"{id(account)}-{len(account.calls)}-{number}.wav"
        self.recorder: Any = None

    def onCallMediaState(self, prm: Any) -> None:  # noqa: N802
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if self.recorder is None and media.dir & pj.PJMEDIA_DIR_DECODING:
                self.recorder = pj.AudioMediaRecorder()
                self.recorder.createRecorder(str(self.path))
                self.getAudioMedia(index).startTransmit(self.recorder)


def main(folder: Path) -> None:
    """Serve until killed."""
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly, config.uaConfig.maxCalls = 0, True, CALLS
    config.medConfig.clockRate, config.medConfig.sndClockRate, config.medConfig.noVad = 8000, 8000, True
    endpoint.libInit(config)
    endpoint.audDevManager().setNullDev()
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    number = endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    settings = pj.AccountConfig()
    settings.idUri = "sip:recorder@127.0.0.1"
    settings.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    account = Account(folder)
    account.create(settings)
    print(endpoint.transportGetInfo(number).localName.rpartition(":")[2], flush=True)
    while True:
        endpoint.libHandleEvents(100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
