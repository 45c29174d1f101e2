"""Every string of the pages in Russian and English: small enough to be a table, complete by test."""

from __future__ import annotations

from aiohttp import web

from agent.web.phones import phones_within
from agent.web.reasons import in_russian
from agent.web.reasons_crm import Refusal, explain
from agent.web.reasons_sources import source_in_russian, without_remedy
from agent.web.texts_acts import ABOUT, ACTS, VALUES
from agent.web.texts_admin import ADMIN_TEXTS
from agent.web.texts_api import API_TEXTS
from agent.web.texts_calls import CALL_TEXTS
from agent.web.texts_cardpage import CARD_PAGE_TEXTS
from agent.web.texts_cards import CARD_TEXTS
from agent.web.texts_crm import CRM_TEXTS
from agent.web.texts_find import FIND_TEXTS
from agent.web.texts_keeping import KEEPING_TEXTS
from agent.web.texts_mail import MAIL_TEXTS, RULE_NAMES
from agent.web.texts_masks import MASK_TEXTS
from agent.web.texts_people import PEOPLE_TEXTS

_OTHER_TEXTS = (
    FIND_TEXTS
    | PEOPLE_TEXTS
    | CARD_TEXTS
    | CARD_PAGE_TEXTS
    | CALL_TEXTS
    | MASK_TEXTS
    | MAIL_TEXTS
    | CRM_TEXTS
    | ADMIN_TEXTS
    | KEEPING_TEXTS
    | API_TEXTS
)
LANGUAGES = ("ru", "en")
LANGUAGE_COOKIE = "cardline_language"

TEXTS: dict[str, tuple[str, str]] = {
    # Frame
    "skip": ("К содержанию", "Skip to content"),
    "language": ("Язык", "Language"),
    "menu": ("Разделы", "Sections"),
    "nav_cards": ("Клиенты", "Clients"),
    "nav_live": ("Сейчас", "Live"),
    "nav_unsorted": ("Разобрать", "To be sorted"),
    "nav_employees": ("Сотрудники", "Employees"),
    "nav_sources": ("Источники", "Sources"),
    "nav_find": ("Поиск", "Find"),
    "nav_tasks": ("Задачи", "Tasks"),
    "nav_settings": ("Настройки", "Settings"),
    "settings_all": ("Все настройки", "All settings"),
    "seek": ("Найти: слова, имя, номер", "Find words, a name, a number"),
    "own_menu": ("Меню", "Menu"),
    "theme": ("Оформление", "Appearance"),
    "theme_auto": ("как на устройстве", "as the device"),
    "theme_light": ("светлое", "light"),
    "theme_dark": ("тёмное", "dark"),
    "log_out": ("Выйти", "Log out"),
    "role_administrator": ("администратор", "administrator"),
    "role_supervisor": ("руководитель", "supervisor"),
    "role_manager": ("менеджер", "manager"),
    # Login
    "login_title": ("Вход", "Log in"),
    "login_lead": ("История ваших клиентов: звонки и письма.", "The history of your clients: calls and mails."),
    "login_name": ("Имя для входа", "Login name"),
    "password": ("Пароль", "Password"),
    "log_in": ("Войти", "Log in"),
    "login_wrong": ("Имя или пароль неверны.", "The name or the password is wrong."),
    "login_too_often": (
        "Слишком много попыток. Подождите несколько минут.",
        "Too many attempts. Wait a few minutes.",
    ),
    "login_stale": ("Страница устарела. Попробуйте ещё раз.", "The page was out of date. Please try again."),
    # Clients
    "cards_title": ("Клиенты", "Clients"),
    "search": ("Поиск", "Search"),
    "search_hint": ("Имя, номер или адрес", "Name, number or address"),
    "search_clear": ("Показать всех", "Show all"),
    "cards_none": ("Клиентов пока нет", "No clients yet"),
    "cards_none_lead": (
        "Карточки появятся, когда вы разберёте первые звонки и письма.",
        "Cards appear once the first calls and mails are sorted.",
    ),
    "cards_nothing_found": ("Ничего не нашлось", "Nothing found"),
    "cards_nothing_found_lead": (
        "Попробуйте часть имени, последние цифры номера или начало адреса.",
        "Try part of the name, the last digits of the number or the beginning of the address.",
    ),
    "last_contact": ("Последний контакт", "Last contact"),
    "no_contact": ("контактов не было", "no contact yet"),
    "responsible": ("Ответственный", "Responsible"),
    "company": ("Компания", "Company"),
    "contacts": ("Контакты", "Contacts"),
    "next_page": ("Показать более ранние", "Show earlier"),
    "first_page": ("К началу", "Back to the newest"),
    "history": ("История", "History"),
    "history_none": ("Записей пока нет", "No entries yet"),
    "history_none_lead": (
        "Следующий звонок или письмо появится здесь само.",
        "The next call or mail will appear here by itself.",
    ),
    "nobody": ("не назначен", "nobody"),
    # Entries
    "call_inbound": ("Входящий звонок", "Incoming call"),
    "call_outbound": ("Исходящий звонок", "Outgoing call"),
    "call_internal": ("Внутренний звонок", "Internal call"),
    "call_unknown": ("Звонок", "Call"),
    "mail_inbound": ("Входящее письмо", "Incoming mail"),
    "mail_outbound": ("Исходящее письмо", "Outgoing mail"),
    "mail_internal": ("Внутреннее письмо", "Internal mail"),
    "mail_unknown": ("Письмо", "Mail"),
    "outcome_in_progress": ("идёт сейчас", "in progress"),
    "outcome_answered": ("отвечен", "answered"),
    "outcome_missed": ("пропущен", "missed"),
    "outcome_no_answer": ("не ответили", "no answer"),
    "outcome_busy": ("занято", "busy"),
    "outcome_failed": ("не состоялся", "failed"),
    "rang": ("ожидание", "rang"),
    "talked": ("разговор", "talked"),
    "who_employee": ("Сотрудник", "Employee"),
    "who_client": ("Клиент", "Client"),
    "who_mixed": ("Разговор", "Conversation"),
    "hidden_number": ("номер скрыт", "number withheld"),
    "recording_of": ("Запись разговора", "Recording"),
    "download": ("Скачать", "Download"),
    "download_flac": ("Скачать запись (FLAC)", "Download the recording (FLAC)"),
    "transcript": ("Расшифровка", "Transcript"),
    "play_from": ("Слушать с {time}", "Play from {time}"),
    "transcript_waits": (
        "Расшифровка готовится и появится здесь сама.",
        "The transcript is being made and will appear here.",
    ),
    "transcript_tiny": (
        "Модель «tiny-demo» знает только слова демонстрации и тестов; настоящую назовите в transcribe.model.",
        "The model “tiny-demo” knows only the words of the demo and the tests; name a real one in transcribe.model.",
    ),
    "transcript_off": ("Расшифровка отключена в настройках.", "Transcription is switched off in the settings."),
    "transcript_empty": ("Речи в записи не распознано.", "No speech was recognised in the recording."),
    "recording_waits": ("Запись собирается.", "The recording is being put together."),
    "recording_copy": ("То же записано ещё раз:", "The same, recorded once more:"),
    "recording_lost": (
        "Запись лежит на машине, которую не слышно; она появится здесь, когда та вернётся.",
        "The recording lies on a machine that is not heard; it will be here when that returns.",
    ),
    "recording_open": ("Разговор записывается.", "The call is being recorded."),
    "recording_none": ("Записи нет.", "There is no recording."),
    "note_mixed": (
        "Голоса не разделены: оба собеседника на одном канале.",
        "The parties are not separated: both are on one channel.",
    ),
    "note_truncated": ("Запись оборвана: конец не был получен.", "The recording is cut off: its end never came."),
    "marks": ("Отметки", "Marks"),
    "mark_early_media": ("До ответа", "Before the answer"),
    "mark_hold": ("Удержание", "Hold"),
    "mark_pause": ("Пауза записи", "Recording paused"),
    "by_keys": ("по коду с телефона", "by a code of keys"),
    "mark_dtmf": ("Клавиша", "Key"),
    "note_gap": ("Нет звука {start}–{end}: {reason}", "No sound {start}–{end}: {reason}"),
    "from": ("От", "From"),
    "to": ("Кому", "To"),
    "cc": ("Копия", "Cc"),
    "bcc": ("Скрытая копия", "Bcc"),
    "expanded": ("Через группу", "Through a group"),
    "no_subject": ("(без темы)", "(no subject)"),
    "no_text": ("В письме нет текста.", "The mail has no text."),
    "mail_quoted": ("Показать цитату", "Show quoted text"),
    "mail_signature": ("Подпись", "Signature"),
    "mail_original": ("Вложенное письмо", "Attached mail"),
    "mail_signed": ("Подписано", "Signed"),
    "mail_encrypted": ("Зашифровано: открыть может только получатель", "Encrypted: only the recipient can open it"),
    "not_verified": ("подпись не проверялась", "the signature was not verified"),
    "formatted": ("Показать с оформлением", "Show with formatting"),
    "formatted_frame": ("Письмо с оформлением", "Mail with formatting"),
    "attachments": ("Вложения", "Attachments"),
    "why_here": ("Почему здесь?", "Why is this here?"),
    "decided_by_person": ("решил человек", "decided by a person"),
    "decided_by_rule": ("решено правилом", "decided by a rule"),
    "details": ("Подробно", "Details"),
    "reason_none": ("Связь ещё не решена.", "Not decided yet."),
    "state_linked": ("на карточке", "on a card"),
    "state_ambiguous": ("подходит несколько карточек", "several cards fit"),
    "state_unknown": ("карточка неизвестна", "no card known"),
    "state_internal": ("внутренний", "internal"),
    "state_ignored": ("никого не касается", "concerns nobody"),
    "state_private": ("личное", "private"),
    # Interaction
    "interaction_title": ("Запись истории", "Entry"),
    "evidence": ("Свидетельства", "Evidence"),
    "evidence_lead": (
        "Что и когда было получено. Хранится неизменным.",
        "What was received and when. It is kept unaltered.",
    ),
    "original": ("Скачать оригинал", "Download the original"),
    # Calls in progress
    "live_title": ("Звонки сейчас", "Calls now"),
    "live_lead": ("Разговоры, которые идут в эту минуту.", "Conversations going on this very minute."),
    "live_none": ("Сейчас никто не говорит", "Nobody is talking now"),
    "live_none_lead": ("Новый звонок появится здесь сам.", "The next call will appear here by itself."),
    "live_ringing": ("вызов", "ringing"),
    "live_talking": ("разговор", "talking"),
    "live_paused": ("Запись на паузе", "Recording paused"),
    "live_pause": ("Пауза записи", "Pause recording"),
    "live_resume": ("Возобновить запись", "Resume recording"),
    "live_silent": ("Записывает {host}; эту машину не слышно с", "Recorded by {host}, which has not been heard since"),
    "live_pause_hint": (
        "Звук не записывается, пока клиент называет данные карты.",
        "No sound is kept while the client says card data.",
    ),
    "live_listen": ("Слушать", "Listen in"),
    "live_listen_stop": ("Не слушать", "Stop listening"),
    "live_failed": ("Не удалось. Обновите страницу.", "That did not work. Reload the page."),
    "listen_elsewhere": (
        "Этот разговор записывает другая машина, {host}: слушать его можно там.",
        "This call is recorded by another machine, {host}: it can be listened to there.",
    ),
    "listen_where": ("слушать можно на {host}", "to be heard on {host}"),
    # To be sorted
    "unsorted_title": ("Разобрать", "To be sorted"),
    "unsorted_lead": (
        "Всё, что ждёт человека: неизвестные номера, спорные звонки, непрочитанные письма.",
        "Everything that waits for a person: unknown numbers, doubtful calls, unreadable mails.",
    ),
    "unsorted_none": ("Всё разобрано", "Everything is sorted"),
    "unsorted_none_lead": ("Сюда попадают неизвестные номера и адреса.", "Unknown numbers and addresses come here."),
    "make_card": ("Создать карточку", "Make a client card"),
    "card_name": ("Имя клиента", "Client's name"),
    "add_to_card": ("Добавить к карточке", "Add to an existing card"),
    "choose_card": ("Выберите карточку", "Choose a card"),
    "add": ("Добавить", "Add"),
    "this_card": ("Это {name}", "It is {name}"),
    "hidden_lead": (
        "Без номера карточку не создать; открыть можно каждую запись.",
        "Without a number there is no card to make; each entry can be opened.",
    ),
    "more_entries": ("и ещё {count}", "and {count} more"),
    "done_card": ("Карточка создана. История подтянется сама.", "The card is made. Its history follows by itself."),
    "done_contact": (
        "Контакт добавлен. История подтянется сама.",
        "The contact is added. Its history follows by itself.",
    ),
    "card_not_found": (
        "Такой карточки нет, или их несколько: выберите её из списка.",
        "There is no such card, or several: choose it from the list.",
    ),
    "done_decision": ("Решение записано.", "The decision is noted."),
    # Sources
    "sources_title": ("Источники", "Sources"),
    "sources_lead": ("Откуда приходят звонки и письма.", "Where calls and mails come from."),
    "sources_none": ("Источников пока нет", "No sources yet"),
    "sources_none_lead": (
        "Подключите АТС или почтовый ящик в cardline.toml.",
        "Attach a PBX or a mailbox in cardline.toml.",
    ),
    "source_connecting": ("подключается", "connecting"),
    "source_catching_up": ("первый проход", "first pass"),
    "source_running": ("работает", "running"),
    "source_login_failed": ("вход отклонён", "login refused"),
    "source_unreachable": ("не отвечает", "unreachable"),
    "source_folder_missing": ("нет папки", "folder missing"),
    "source_stopped": ("остановлен", "stopped"),
    "source_damaged": ("повреждён", "damaged"),
    # Errors
    "error_403": ("Нет доступа", "No access"),
    "error_403_lead": ("Эта страница не для вашей роли.", "This page is not for your role."),
    "error_404": ("Страницы нет", "Not found"),
    "error_404_lead": ("Её нет, или она открыта не вам.", "It does not exist, or it is not yours to see."),
    "error_409": ("Сейчас нельзя", "Not possible now"),
    "error_409_lead": ("Обновите страницу и попробуйте ещё раз.", "Reload the page and try again."),
    "error_410": ("Стёрто", "Erased"),
    "error_503": ("Ненадолго недоступно", "Briefly unavailable"),
    "error_503_lead": ("Ничего не потеряно. Попробуйте через минуту.", "Nothing is lost. Try again in a minute."),
    "error_400": ("Запрос не понят", "The request was not understood"),
    "error_400_lead": (
        "Вернитесь назад, обновите страницу и попробуйте ещё раз.",
        "Go back, reload the page and try again.",
    ),
    "error_500": ("Ошибка", "Something went wrong"),
    "error_500_lead": ("Она записана в журнал службы.", "It was written to the service's log."),
    "back_home": ("К списку клиентов", "To the list of clients"),
    "today": ("Сегодня", "Today"),
    "yesterday": ("Вчера", "Yesterday"),
} | _OTHER_TEXTS

COUNTS: dict[str, tuple[tuple[str, str, str], tuple[str, str]]] = {
    "entries": (("запись", "записи", "записей"), ("entry", "entries")),
    "mails": (("письмо", "письма", "писем"), ("mail", "mails")),
    "calls": (("звонок", "звонка", "звонков"), ("call", "calls")),
    "meetings": (("встреча", "встречи", "встреч"), ("meeting", "meetings")),
    "copies": (("копия", "копии", "копий"), ("copy", "copies")),
}

MONTHS: dict[str, tuple[str, ...]] = {
    "ru": (
        "января",
        "февраля",
        "марта",
        "апреля",
        "мая",
        "июня",
        "июля",
        "августа",
        "сентября",
        "октября",
        "ноября",
        "декабря",
    ),
    "en": (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
}


class Texts:
    """The strings of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        """The string of a key with its places filled; an unknown key is an error of ours."""
        text = TEXTS[key][self._column]
        return text.format(**values) if values else text

    def count(self, number: int, noun: str) -> str:
        """A number with its noun in the right form."""
        russian, english = COUNTS[noun]
        if self.language == "en":
            return f"{number:,} {english[number != 1]}"
        return f"{number:,}".replace(",", "\u00a0") + f" {russian[_russian_form(number)]}"

    def reason(self, text: str) -> str:
        """A reason of the linker in the language of the page where we know it, numbers as people write them."""
        return phones_within(in_russian(text) if self.language == "ru" else text)

    def source(self, detail: str, *, with_remedy: bool = True) -> str:
        """What a source says of itself, in the language of the page."""
        said = detail if with_remedy else without_remedy(detail)
        return source_in_russian(said) if self.language == "ru" else said

    def refusal(self, problem: str, remedy: str = "", failure: str = "") -> Refusal:
        """Why a CRM was not told, and what to do; its own words are quoted as it said them."""
        return explain(problem, remedy, failure, self.language)

    def act(self, name: str) -> str:
        """What was done, in the words of the audit log."""
        found = ACTS.get(name)
        return found[LANGUAGES.index(self.language)] if found else name.replace("_", " ")

    def about(self, name: str) -> str:
        """What an act of the audit log was about, by the name under which the log keeps it."""
        found = ABOUT.get(name)
        return found[LANGUAGES.index(self.language)] if found else name.removesuffix("_id").replace("_", " ")

    def about_value(self, value: str) -> str:
        """The same for what it was, where that is one of our words."""
        return VALUES.get(value, (value, value))[LANGUAGES.index(self.language)]

    def rule(self, name: str) -> str:
        """The name of a rule; those that come with the program have it in both languages."""
        return RULE_NAMES.get(name, name) if self.language == "ru" else name


def _russian_form(number: int) -> int:
    if number % 10 == 1 and number % 100 != 11:
        return 0
    return 1 if number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14) else 2


def language_of(request: web.Request) -> str:
    """The language chosen by the link, else the first of Accept-Language that we speak, else Russian."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    wanted = []
    for position, item in enumerate(request.headers.get("Accept-Language", "").split(",")):
        name, _, quality = item.strip().partition(";q=")
        if (short := name.lower()[:2]) in LANGUAGES:
            wanted.append((-_quality(quality), position, short))
    return min(wanted)[2] if wanted else LANGUAGES[0]


def _quality(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
