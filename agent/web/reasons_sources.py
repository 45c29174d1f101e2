"""What sources, mailboxes and the archive's own watch say of themselves in English, in Russian. What a foreign server
said stays in its own words, quoted."""

from __future__ import annotations

import re
from functools import lru_cache

_MONTHS = {
    "January": "январь",
    "February": "февраль",
    "March": "март",
    "April": "апрель",
    "May": "май",
    "June": "июнь",
    "July": "июль",
    "August": "август",
    "September": "сентябрь",
    "October": "октябрь",
    "November": "ноябрь",
    "December": "декабрь",
}
_REMEDIES = {
    "Look into the log for what came before.": "Что было перед этим, сказано в журнале службы.",
    "Correct cardline.toml and start again; `cardline doctor` checks it.": (
        "Исправьте cardline.toml и запустите снова; проверка: `cardline doctor`."
    ),
    "Nothing is lost; it is tried again by itself.": "Ничего не потеряно, повторим сами.",
    "Free space on the archive's disk or restore the bucket; senders keep what they could not deliver.": (
        "Освободите место на диске архива или верните хранилище; отправители хранят то, что не смогли передать."
    ),
    "Restore the file from a backup and run `cardline verify`.": (
        "Верните файл из резервной копии и запустите `cardline verify`."
    ),
    "Restore the file from a backup and run `cardline verify`; find out who can write to the archive.": (
        "Верните файл из резервной копии, запустите `cardline verify` и выясните, кто может писать в архив."
    ),
    "Put the saved keys back: `cardline keys restore` takes the lines that `cardline keys show` printed.": (
        "Верните сохранённые ключи: `cardline keys restore` берёт строки, которые напечатал `cardline keys show`."
    ),
    "Check user and password (or the application password) of this mailbox in cardline.toml.": (
        "Проверьте user и password (или пароль приложения) этого ящика в cardline.toml."
    ),
    "Name an existing folder in `folders` of this mailbox in cardline.toml.": (
        "Назовите существующую папку в `folders` этого ящика в cardline.toml."
    ),
    "Check user, auth_user and secret of this line in cardline.toml.": (
        "Проверьте user, auth_user и secret этой линии в cardline.toml."
    ),
    "It is tried again by itself; check registrar and transport of this line.": (
        "Повторим сами; проверьте registrar и transport этой линии."
    ),
    "Put the WAV file there, readable for the service; until then this line takes no calls.": (
        "Положите туда файл WAV, доступный службе; до тех пор линия не принимает звонки."
    ),
    "The original is kept unaltered; open it from the page «To be sorted».": (
        "Оригинал хранится неизменным; откройте его на странице «Разобрать»."
    ),
    "The file is left where it is; convert it to WAV by hand if it plays elsewhere.": (
        "Файл оставлен на месте; если он где-то проигрывается, переведите его в WAV вручную."
    ),
    "Nothing can be done: the erasure was ordered and is recorded in the audit log.": (
        "Сделать ничего нельзя: стирание было предписано и записано в журнале действий."
    ),
    "Run `cardline model fetch` on a machine with internet, or name a model directory in transcribe.model.": (
        "Запустите `cardline model fetch` на машине с интернетом или назовите папку модели в transcribe.model."
    ),
    "Run NTP there.": "Включите там NTP.",
    "Restore them from a backup.": "Верните их из резервной копии.",
    "Run `cardline verify`.": "Запустите `cardline verify`.",
}
_DOING = {
    "connecting": "соединение",
    "login": "вход",
    "listing": "список писем",
    "list": "список папок",
    "fetching": "чтение писем",
    "flags": "отметки",
    "idle": "ожидание почты",
    "capability": "возможности сервера",
    "enable": "включение CONDSTORE",
}
_PATTERNS = tuple(
    (re.compile(pattern, re.DOTALL), russian)
    for pattern, russian in (
        (r"(\S+) port (\d+) refuses the login of (.+?): (.+)\.", r"\1, порт \2, не принимает вход \3: «\4»."),
        (r"(\S+) port (\d+) failed at login: (.+)\.", r"\1, порт \2: сбой при входе: «\3»."),
        (r"(\S+) port (\d+) asks to come back later: (.+)\.", r"\1, порт \2, просит прийти позже: «\3»."),
        (r"(\S+) port (\d+) failed at (.+?): (.+)\.", r"\1, порт \2: сбой («\3»): «\4»."),
        (r"(\S+) port (\d+) cannot be reached \((.+?)\): (.+)\.", r"\1, порт \2, недоступен («\3»): «\4»."),
        (r"(\S+) port (\d+) answers in a way not understood \((.+?)\)\.", r"\1, порт \2, отвечает непонятно («\3»)."),
        (
            r"The mail server sends (\d+) bytes where no more than (\d+) are taken\.",
            r"Почтовый сервер шлёт \1 байт, берётся не больше \2.",
        ),
        (
            r"A large mail cannot be written to the disk: (.+)\.",
            r"Большое письмо не удаётся записать на диск: «\1».",
        ),
        (
            r"The mail server does not give message (\d+) of folder (.+), which it lists\.",
            r"Почтовый сервер показывает письмо \1 в папке \2, но не отдаёт его.",
        ),
        (r"Folder (.+) changed while it was read\.", r"Папка \1 изменилась во время чтения."),
        (
            r"Reading this mailbox failed in an unforeseen way; see the log\.",
            "Непредвиденный сбой при чтении ящика; см. журнал службы.",
        ),
        (r"(.+) refuses the login \((\d+) ?(.*)\)\.", r"\1 не принимает вход (\2 \3)."),
        (
            r"(.+) cannot be reached or does not take registrations \((\d+) ?(.*)\)\.",
            r"\1 недоступен или не принимает регистрацию (\2 \3).",
        ),
        (r"The name (\S+) has no address: (.+)\.", r"У имени \1 нет адреса: «\2»."),
        (r"(\d+) of (\d+) calls, full", r"занято: \1 из \2 звонков"),
        (r"The process of this line ended; it is started again\.", "Процесс линии завершился, запускаем снова."),
        (
            r"Keeping this line failed in an unforeseen way; see the log\.",
            "Непредвиденный сбой линии; см. журнал службы.",
        ),
        (
            r"Following this PBX failed in an unforeseen way; see the log\.",
            "Непредвиденный сбой при работе с АТС; см. журнал службы.",
        ),
        (
            r"The announcement (.+) of the line (.+) cannot be read\.",
            r"Не читается файл объявления \1 линии \2.",
        ),
        (r"Its clock is (\d+) s (?:ahead|fast); times are corrected\.", r"Её часы спешат на \1 с; время исправлено."),
        (r"Its clock is (\d+) s (?:behind|slow); times are corrected\.", r"Её часы отстают на \1 с; время исправлено."),
        (r"Calls are followed and not recorded\. (.+)", r"Звонки видны, но не записываются. \1"),
        (
            r"Another program is connected to (.+) under our name\.",
            r"К \1 под нашим именем подключена другая программа.",
        ),
        (r"(\d+) older recordings wait", r"старых записей в очереди: \1"),
        (
            r"Its recordings have one channel: the parties are not separated\. ?(.*)",
            r"Записи в один канал: собеседники не разделены. \1",
        ),
        (
            r"the chain holds, (\d+) links; every blob is as it was stored",
            r"цепочка цела, звеньев: \1; все файлы такие, как были сохранены",
        ),
        (r"The chain does not hold\. (.+)\.", r"Цепочка нарушена: \1."),
        (
            r"(\d+) blobs are not as they were stored, first (\S+): (.+)\.",
            r"Файлов не таких, как были сохранены: \1, первый \2: \3.",
        ),
        (
            r"seal (\d+) vouches for (\d+) links; it goes to: (.+)",
            r"печать № \1 удостоверяет звеньев: \2; уходит в: \3",
        ),
        (
            r"seal (\d+) vouches for (\d+) links; it goes nowhere yet: see \[seal\]",
            r"печать № \1 удостоверяет звеньев: \2; пока никуда не уходит: см. [seal]",
        ),
        (r"seal (\d+) \((\d+) links\) arrived", r"печать № \1 (звеньев: \2) доставлена"),
        (r"The mail server does not answer: (.+)\.", r"Почтовый сервер не отвечает: «\1»."),
    )
)
_PROGRESS = re.compile(
    r"([\d,]+) of ([\d,]+)(?:, back to ([A-Z][a-z]+) (\d{4}))?(?:; it ends at (\d+) ([A-Z][a-z]+) (\d{4}))?\."
)
_FOLDERS = re.compile(
    r"The mailbox (\S+) (?:has no folder (.+?)|does not open its folder (.+?))(?:: (.+?))?\.(?= The mailbox | And |\Z)"
)
_MORE = re.compile(r" ?And (\d+) more\.")


@lru_cache(maxsize=1024)
def source_in_russian(detail: str) -> str:
    """The same in Russian as far as we know it: what happened, and what to do about it."""
    what = without_remedy(detail)
    remedy = detail.removeprefix(what).strip()
    return " ".join(one for one in (_what(what), _REMEDIES.get(remedy, "")) if one)


def without_remedy(detail: str) -> str:
    """What happened alone, for a page that says by itself what to do."""
    remedy = max((one for one in _REMEDIES if detail.endswith(one)), key=len, default="")
    return detail.removesuffix(remedy).strip()


def _what(text: str) -> str:
    if found := _PROGRESS.fullmatch(text):
        return _progress(found)
    if text.startswith("The mailbox ") and (folders := _folders(text)):
        return folders
    for pattern, russian in _PATTERNS:
        if found := pattern.fullmatch(text):
            said = found.expand(russian)
            return re.sub(r"\(«(.+?)»\)", lambda one: f"({_doing(one[1])})", said)
    return text


def _doing(words: str) -> str:
    if words.startswith("folder "):
        return f"папка {words.removeprefix('folder ')}"
    return _DOING.get(words, words)


def _progress(found: re.Match[str]) -> str:
    done, total, month, year, last_day, last_month, last_year = found.groups()
    said = f"{done} из {total}".replace(",", "\N{NO-BREAK SPACE}")
    said += f", дошли до: {_MONTHS.get(month, month)} {year}" if month else ""
    number = list(_MONTHS).index(last_month) + 1 if last_month in _MONTHS else 0
    ends = f"; раньше {last_day}.{number:02}.{last_year} не читаем" if last_day else ""
    return f"{said}{ends}."


def _folders(text: str) -> str:
    told = []
    for one in _FOLDERS.finditer(text):
        mailbox, missing, closed, words = one.groups()
        said = f"В ящике {mailbox} нет папки {missing}" if missing else f"Ящик {mailbox} не открывает папку {closed}"
        told.append(f"{said}: «{words}»." if words else f"{said}.")
    if more := _MORE.search(text):
        told.append(f"И ещё {more[1]}.")
    return " ".join(told)
