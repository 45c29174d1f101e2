"""Why a CRM was not told, and what to do about it, in the reader's language; the CRM's own words are quoted beside it.

Connectors say `Vendor: CODE: words.` of what a CRM has refused (`linker.crm.shapes.in_its_words`), and sentences of
ours for everything else. Codes are those that connectors handle, from the vendors' own pages: apidocs.bitrix24.com
*Statuses and system error codes*, amocrm.ru/developers *Коды ошибок*, its.1c.ru *Стандартный интерфейс OData*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

Pair = tuple[str, str]
"""The same in Russian and in English."""

_NO_ACCESS: Pair = ("не пускает нас: ключ или вход отклонён", "does not let us in: the key or the login is refused")
_NO_TOKEN: Pair = ("не принимает вход: его срок истёк или он отозван", "does not take the login: it has run out")
_NO_RIGHT: Pair = ("не даёт на это прав", "does not give us the right to do this")
_NOT_THERE: Pair = ("не знает этой карточки или записи: её там больше нет", "does not know this card or entry any more")
_WRONG: Pair = ("не принимает одно из полей", "does not take one of the fields")
_BUSY: Pair = ("просит делать запросы реже", "asks for fewer requests")

_CODES: Mapping[str, Mapping[str, Pair]] = {
    "Bitrix24": {
        **dict.fromkeys(("NO_AUTH_FOUND", "INVALID_CREDENTIALS", "authorization_error"), _NO_ACCESS),
        **dict.fromkeys(("expired_token", "invalid_token"), _NO_TOKEN),
        **dict.fromkeys(("ACCESS_DENIED", "insufficient_scope", "allowed_only_intranet_user"), _NO_RIGHT),
        **dict.fromkeys(("NOT_FOUND", "ERROR_NOT_FOUND", "OWNER_NOT_FOUND", "BINDING_NOT_FOUND"), _NOT_THERE),
        "user_access_error": (
            "не пускает этого пользователя в приложение",
            "does not let this user into the application",
        ),
        "PORTAL_DELETED": ("удалил этот портал", "has deleted this portal"),
        "WRONG_AUTH_TYPE": (
            "разрешает это только локальному приложению, не вебхуку",
            "allows this to a local application only, not to a webhook",
        ),
        "ERROR_METHOD_NOT_FOUND": (
            "не знает такого метода: не хватает прав приложения или тариф без него",
            "knows no such method: the application lacks a right, or the plan is without it",
        ),
        "OVERLOAD_LIMIT": ("закрыл свой REST API вручную", "has blocked its REST API by hand"),
        "ERROR_CORE": _WRONG,
    },
    "amoCRM": {
        "400": _WRONG,
        "401": _NO_ACCESS,
        "402": ("не оплачена", "is not paid for"),
        "403": _NO_RIGHT,
        "404": _NOT_THERE,
        "429": _BUSY,
    },
    "1C": {
        "8": ("не публикует этот объект для OData", "does not publish this object for OData"),
        "9": _NOT_THERE,
    },
}
_CLASSES: Mapping[str, Pair] = {
    "CrmAuthFailed": _NO_ACCESS,
    "CrmRightsMissing": _NO_RIGHT,
    "CrmGone": _NOT_THERE,
    "CrmRefused": ("отказывает", "refuses"),
    "": ("отвечает", "answers"),
}
_NAMES = {"1C": ("1С", "1C"), "Bitrix24": ("Битрикс24", "Bitrix24")}

_SENTENCES = (
    (r"The CRM has no card for (.+)\.", r"В CRM нет карточки для: \1."),
    (r"(.+) may be any of (\d+) cards: (.+)\.", r"\1 — в CRM это может быть любая из \2 карточек: \3."),
    (r"The card is no more here\.", "Карточки здесь больше нет."),
    (r"(.+) has no cards of the kind (.+)\.", r"\1 не знает карточек вида \2."),
    (r"(.+) did not answer in time\.", r"\1 не ответил вовремя."),
    (r"It did not answer within (\d+) seconds\.", r"Ответа не было \1 секунд."),
    (r"(.+) does not answer: its certificate is not accepted: (.+)\.", r"\1 не отвечает: сертификат не принят (\2)."),
    (r"(.+) does not answer: (.+)\.", r"\1 не отвечает (\2)."),
    (r"(.+) answers (\d+)\.", r"\1 отвечает ошибкой \2."),
    (r"The answer \(status (\d+)\) is no JSON\.", r"Вместо CRM отвечает кто-то другой (код \1)."),
    (r"The answer is longer than 32 MB\.", "Ответ длиннее 32 МБ."),
    (
        r"What answers is no (?:list of )?(.+?)(?:, or an error in place of an answer)?\.",
        r"Вместо \1 отвечает кто-то другой.",
    ),
    (r"The answer is none of Tryton's\.", "Вместо Tryton отвечает кто-то другой."),
    (r"Bitrix24 has left out a part of its answer\.", "Битрикс24 ответил не полностью."),
    (r"(.+) does not say what it has made\.", r"\1 не говорит, что создано."),
    (r"amoCRM has taken the call and does not show it yet\.", "amoCRM приняла звонок, но пока не показывает его."),
    (
        r"Bitrix24 has taken the call and made no activity of it\.",
        "Битрикс24 принял звонок, но не завёл по нему дело.",
    ),
    (r"Bitrix24 names another host for an upload\.", "Битрикс24 называет для загрузки чужой адрес."),
    (r"The CRM does not let us in \((.+)\)\.", r"CRM не пускает нас (\1)."),
    (r"The CRM does not allow: (.+)\.", r"CRM не разрешает: \1."),
    (r"The CRM asks for fewer requests\.", "CRM просит делать запросы реже."),
    (r"Bitrix24 asks for fewer requests\.", "Битрикс24 просит делать запросы реже."),
    (r"Bitrix24 has blocked a method for a while\.", "Битрикс24 на время закрыл один из методов."),
    (r"Bitrix24 has blocked its REST API by hand\.", "Битрикс24 закрыл свой REST API вручную."),
    (r"amoCRM has blocked this address for a while\.", "amoCRM на время закрыла доступ с нашего адреса."),
    (
        r"Somebody is at work in BlueSales under the same login\.",
        "В BlueSales под этим же логином кто-то работает.",
    ),
    (r"Nobody has logged in yet \((.+)\)\.", r"В CRM «\1» ещё никто не вошёл."),
    (r"The login was withdrawn or has run out \((.+)\)\.", r"Вход в CRM «\1» отозван или его срок истёк."),
    (
        r"The kept tokens of (.+) do not open under today's master keys\.",
        r"Вход в «\1» не открывается нынешними ключами.",
    ),
    (r"(.+) gives no token: (.+)\.", r"\1 не даёт доступа: \2."),
    (r"Tryton does not let (.+) in\.", r"Tryton не пускает пользователя \1."),
    (r"Tryton does not allow (\S+): (.+)", r"Tryton не разрешает \1: \2"),
    (r"Tryton refuses (\S+): (.+)", r"Tryton отказывает в \1: \2"),
    (r"Tryton failed at (.+)\.", r"Ошибка внутри Tryton: \1."),
    (r"Tryton closes each new session at once\.", "Tryton сразу закрывает каждый вход."),
    (r"There is no such database of Tryton\.", "Такой базы Tryton нет."),
    (r"The (?:record|party) is no more in Tryton\.", "В Tryton этого больше нет."),
    (r"The note was deleted in Tryton\.", "Заметку в Tryton удалили."),
    (r"The note is no more in amoCRM\.", "В amoCRM этой записи больше нет."),
    (r"The partner is marked for deletion in 1C\.", "Партнёр в 1С помечен на удаление."),
    (r"It is marked for deletion in 1C\.", "Запись в 1С помечена на удаление."),
    (r"(?:This is no reference of 1C|It is of no kind that is logged in 1C)\.", "В 1С такой записи быть не может."),
    (r"1C does not let us in\.", "1С не пускает нас."),
    (
        r"Without a field for its state 1C might send this mail once more\.",
        "Без поля состояния 1С может отправить это письмо ещё раз.",
    ),
    (r"BlueSales refuses login or password\.", "BlueSales не принимает логин или пароль."),
    (r"BlueSales knows no command (.+)\.", r"BlueSales не знает команды \1."),
    (r"BlueSales does not allow it\.", "BlueSales этого не разрешает."),
    (r"The customer is no more in BlueSales\.", "Клиента в BlueSales больше нет."),
    (r"Somebody has deleted the entry from the comment\.", "Запись из комментария кто-то удалил."),
    (r"The recording was erased\.", "Запись разговора стёрта."),
    (r"(\w+) in the connector\.", r"Ошибка в самой программе (\1)."),
)
_REMEDIES = (
    (r"Nothing is lost; it is tried again by itself\.", "Ничего не потеряно: повторится само."),
    (
        r"Check the keys of this \[\[crm\]\] in cardline\.toml with `cardline crm check`\.",
        "Проверьте ключи этой [[crm]] в cardline.toml командой `cardline crm check`.",
    ),
    (
        r"Give the user or application of this \[\[crm\]\] the right in the CRM, then `cardline crm retry`\.",
        "Дайте пользователю или приложению этой [[crm]] права в CRM, затем передайте снова.",
    ),
    (
        r"Put the entry on another card, or make the card anew in the CRM and try again\.",
        "Отнесите запись к другой карточке или заведите карточку в CRM заново и передайте снова.",
    ),
    (r"Put the entry on another card\.", "Отнесите запись к другой карточке."),
    (
        r"Make it there with this number or address, then try again; or set create_cards of this \[\[crm\]\]\.",
        "Заведите её там с этим номером или адресом и передайте снова; или включите create_cards этой [[crm]].",
    ),
    (
        r"Merge them over there, or take the shared number from all but one; then try again\.",
        "Объедините их в CRM или оставьте общий номер только у одной, затем передайте снова.",
    ),
    (r"Correct in (.+) what it names, then try again\.", r"Исправьте в \1 то, что названо, и передайте снова."),
    (r"Ask the support of Bitrix24\.", "Напишите в поддержку Битрикс24."),
    (r"The plan of this Bitrix24 must include the REST API\.", "В тарифе этого Битрикс24 должен быть REST API."),
    (r"The account is not paid for; nothing is lost meanwhile\.", "Оплатите аккаунт; до тех пор ничего не теряется."),
    (
        r"Set url to the account's own address, such as (.+)\.",
        r"Укажите в url адрес самого аккаунта, например \1.",
    ),
    (r'Set recordings = "link"\.', 'Укажите recordings = "link".'),
    (
        r"Let its telephony save calls in the CRM, then try again\.",
        "Включите в телефонии сохранение звонков в CRM и передайте снова.",
    ),
    (r"Run `cardline crm login (.+)`\.", r"Выполните `cardline crm login \1`."),
    (r"Check user and password of this \[\[crm\]\]\.", "Проверьте user и password этой [[crm]]."),
    (
        r"Publish the object for OData in 1C, or set its name in options; `cardline crm metadata` proposes it\.",
        "Опубликуйте объект для OData в 1С или укажите его имя в options; его предложит `cardline crm metadata`.",
    ),
    (
        r"Compare the names in options with `cardline crm metadata`\.",
        "Сверьте имена в options с тем, что покажет `cardline crm metadata`.",
    ),
    (
        r"Set options\.mail_state and options\.mail_state_sent, or mails = false\.",
        "Укажите options.mail_state и options.mail_state_sent или mails = false.",
    ),
    (r"Look into Tryton's log, then try again\.", "Посмотрите журнал Tryton и передайте снова."),
    (
        r"End the url of this \[\[crm\]\] with the name of Tryton's database\.",
        "Закончите url этой [[crm]] именем базы Tryton.",
    ),
    (
        r"Look into the CRM's own log for why it does not answer this one, then try again\.",
        "Посмотрите в журнале самой CRM, почему она на это не отвечает, и передайте снова.",
    ),
    (r"Report it with the log around it\.", "Сообщите нам, приложив журнал за это время."),
    (
        r"Nothing can be done: the erasure was ordered and is recorded in the audit log\.",
        "Сделать ничего нельзя: стереть было поручено, это есть в журнале действий.",
    ),
)
_VENDORS = "|".join(("Bitrix24", "amoCRM", "1C", "BlueSales"))
_REFUSED = re.compile(rf"({_VENDORS}): (?:([A-Za-z0-9_]{{1,60}}): )?(.*?)\.?", re.DOTALL)
_OWN = tuple((re.compile(pattern), russian) for pattern, russian in _SENTENCES)
_WHAT_TO_DO = tuple((re.compile(pattern), russian) for pattern, russian in _REMEDIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What stands in the way, what to do, and the CRM's own words, where there are any."""

    says: str
    remedy: str
    quoted: str = ""


@lru_cache(maxsize=1024)  # a CRM that refuses says the same of everything
def explain(problem: str, remedy: str, failure: str, language: str) -> Refusal:
    """In this language as far as we know it. ``failure`` is the class of the error, if it is known; ``remedy`` may
    stand at the end of ``problem``, as in the text of an error."""
    if not remedy:
        problem, remedy = _parted(problem)
    done = _in_russian(remedy, _WHAT_TO_DO) if language == "ru" else remedy
    if found := _REFUSED.fullmatch(problem):
        return _refused(found[1], found[2] or "", found[3], done, failure, language)
    return Refusal(says=_in_russian(problem, _OWN) if language == "ru" else problem, remedy=done)


def _refused(vendor: str, code: str, words: str, remedy: str, failure: str, language: str) -> Refusal:
    column = 0 if language == "ru" else 1
    known = _CODES.get(vendor, {})
    pair = known.get(code) or known.get(words) or _CLASSES.get(failure, _CLASSES[""])
    name = _NAMES.get(vendor, (vendor, vendor))[column]
    quoted = f"{code}: {words}" if code and words else code or words
    return Refusal(says=f"{name} {pair[column]}.", remedy=remedy, quoted=quoted)


def _parted(text: str) -> tuple[str, str]:
    """What happened, and the remedy at its end, where it is one of those we know."""
    for pattern, _ in _WHAT_TO_DO:
        found = next((one for one in re.finditer(pattern, text) if one.end() == len(text)), None)
        if found is not None and (found.start() == 0 or text[found.start() - 1] == " "):
            return text[: found.start()].rstrip(), found[0]
    return text, ""


def _in_russian(text: str, table: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, russian in table:
        if found := pattern.fullmatch(text):
            return found.expand(russian)
    return text
