"""What the linker and the sources say of an entry, which they say in English, in Russian."""

from __future__ import annotations

import re
from functools import lru_cache

from agent.web.reasons_linking import LINK_REASONS
from agent.web.reasons_speech import SPEECH_REASONS
from agent.web.texts_mail import MAIL_REASONS, RULE_NAMES

_RUSSIAN = (
    (r"phone (.+?) is the card's(.*)", r"телефон \1 есть на карточке\2"),
    (r"extension (.+?) is the card's(.*)", r"внутренний номер \1 есть на карточке\2"),
    (r"address (.+?) is the card's(.*)", r"адрес \1 есть на карточке\2"),
    (r"mail domain (.+?) is the card's(.*)", r"почтовый домен \1 есть на карточке\2"),
    (r"(.+) is on (\d+) cards: (.+)", r"\1 есть сразу на карточках (\2): \3"),
    (r"(.+) is on no card", r"\1 нет ни на одной карточке"),
    (r"the number was hidden", "номер был скрыт"),
    (r"only employees took part", "участвовали только сотрудники"),
    (r"the source named nobody", "источник никого не назвал"),
    (r"(.+) is no usable address", r"\1 — не адрес"),
    (r"(.+) is no usable number", r"\1 — не номер"),
    (r"the source named only our side", "источник назвал только нашу сторону"),
    (r"extension (.+) is shared by (.+): nobody is credited", r"внутренний номер \1 общий (\2): никому не засчитан"),
    (r"extension (.+) is shared(.*): nobody is credited", r"внутренний номер \1 общий\2: никому не засчитан"),
    (r"phone (.+) is shared by (.+): nobody is credited", r"телефон \1 общий (\2): никому не засчитан"),
    (r"phone (.+) is shared(.*): nobody is credited", r"телефон \1 общий\2: никому не засчитан"),
    (
        r"may be the same call as No. (\d+) \((.+?)\): only one of the numbers agrees",
        r"возможно, тот же звонок, что №\1 (\2): совпал только один номер",
    ),
    (
        r"may be the same call as No. (\d+) \((.+?)\): the numbers agree, the times do not",
        r"возможно, тот же звонок, что №\1 (\2): номера совпали, время нет",
    ),
    (
        r"may be the same call as No. (\d+) \((.+?)\): (\d+) calls fit equally well",
        r"возможно, тот же звонок, что №\1 (\2): подходит сразу \3",
    ),
    (
        r"may be the same call as No. (\d+) \((.+?)\): people have put them on different cards",
        r"возможно, тот же звонок, что №\1 (\2): люди отнесли их к разным карточкам",
    ),
    (r"only one of the numbers agrees", "совпал только один номер"),
    (r"the numbers agree, the times do not", "номера совпали, время нет"),
    (r"the numbers agree", "номера совпали"),
    (r"(\d+) calls fit equally well", r"подходит сразу \1"),
    (
        r"the sources do not agree whether this call was answered",
        "источники расходятся в том, был ли звонок отвечен",
    ),
    (r"nobody of ours was recognised", "никто из участников не опознан как сотрудник"),
    (r"extension (.+) belongs to no employee", r"внутренний номер \1 ничей"),
    (r"no packets came", "пакеты не приходили"),
    (r"packets lost on the way", "пакеты потеряны в пути"),
    (r"recording was paused", "запись была на паузе"),
    (r"sound that could not be decoded", "звук не удалось декодировать"),
    (r"sound that could not be decrypted", "звук не удалось расшифровать"),
    (
        r"the header of a sound file does not fit its length, as where its writer was cut off; it was read to its end",
        "заголовок файла записи не подходит к его длине, как при обрыве; файл прочитан до конца",
    ),
    (r"a sound file cannot be read past a damaged place", "файл записи повреждён и дальше не читается"),
    (r"(\d+) pieces of a sound file could not be decoded", r"фрагментов файла не удалось декодировать: \1"),
    (r"a sound file is missing", "одного из файлов записи нет"),
    (r"nothing was recorded", "ничего не записано"),
    (
        r"all channels of the sound file are the same, so they are kept as one",
        "все каналы файла одинаковы и сохранены как один",
    ),
    (
        r"who and when are taken from the name of the recording, since there is no call record of it",
        "кто и когда — из имени файла: записи о звонке (CDR) нет",
    ),
    (r"who called whom is guessed from the name of the recording", "кто кому звонил — догадка по имени файла"),
    (
        r"the recording does not tell when it was made; the time is that of its file",
        "время звонка неизвестно, взято время файла",
    ),
    (r"the recording is longer than its call", "запись длиннее звонка"),
    (r"the recording is much shorter than its call", "запись намного короче звонка"),
    (r"taken off the card (.+) by (.+)", r"снято с карточки «\1», решил(а) \2"),
    (r"chosen by (.+)", r"так решил(а) \1"),
    (
        r"its recorder was not heard for a day; the call ends with the last sign of that",
        "записывавшая машина молчала сутки; конец звонка — её последний признак жизни",
    ),
)
_PATTERNS = tuple(
    (re.compile(pattern), russian) for pattern, russian in (*_RUSSIAN, *MAIL_REASONS, *LINK_REASONS, *SPEECH_REASONS)
)
_AMONG = re.compile(r"(.+); of (\d+) cards with it: (.+)")
_RULE = re.compile(r"rule «([^»]*)»: (.+)")


@lru_cache(maxsize=4096)  # the same few fill every page
def in_russian(text: str) -> str:
    """The same in Russian where we know it."""
    if found := _RULE.fullmatch(text):
        why = "; ".join(in_russian(one) for one in found[2].split("; "))
        return f"правило «{RULE_NAMES.get(found[1], found[1])}»: {why}"
    if found := _AMONG.fullmatch(text):
        why = ", ".join(in_russian(one) for one in found[3].split(", "))
        return f"{in_russian(found[1])}; карточек с ним {found[2]}, эта потому, что {why}"
    for pattern, russian in _PATTERNS:
        if found := pattern.fullmatch(text):
            return found.expand(russian)
    return text
