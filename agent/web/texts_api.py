"""What the page about the API says around the specification, which is English."""

from __future__ import annotations

API_TEXTS: dict[str, tuple[str, str]] = {
    "api_title": ("API для программ", "API for programs"),
    "api_lead": (
        "Всё, что делается на страницах, доступно программам. Описание вызовов — по-английски.",
        "Whatever people do on the pages, programs can do.",
    ),
    "api_start": ("Начало за пять минут", "A start in five minutes"),
    "api_start_token": (
        "Создайте токен: страница «Токены» в настройках или cardline token add.",
        "Make a token: the page Tokens in the settings, or cardline token add.",
    ),
    "api_start_shell": ("Сохраните адрес и токен:", "Keep the address and the token:"),
    "api_start_calls": ("Последние звонки:", "The newest calls:"),
    "api_start_words": ("Что было сказано в звонке:", "What was said in a call:"),
    "api_start_events": ("Что меняется прямо сейчас:", "What changes right now:"),
    "api_files": ("Описание OpenAPI 3.1", "OpenAPI 3.1 description"),
    "api_contents": ("Вызовы", "Calls"),
    "api_rules": ("Общие правила", "What holds for all"),
    "api_problems": ("Ошибки", "Errors"),
    "api_problems_lead": (
        "Поле type каждой ошибки ведёт сюда.",
        "The type of every problem leads here.",
    ),
    "api_scope": ("право токена", "scope"),
    "api_roles": ("кому", "who"),
    "api_whole": ("кто видит всю компанию", "whoever sees the whole company"),
    "api_parameters": ("Параметры", "Parameters"),
    "api_body": ("Тело запроса", "Body"),
    "api_answer": ("Ответ", "Answer"),
    "api_answers": ("Коды ответа", "Statuses"),
    "api_example": ("Пример ответа", "Example"),
    "api_required": ("обязательно", "required"),
    "api_cursor": (
        "Курсор не от этого списка с этими условиями.",
        "The cursor is of another list, or of other filters.",
    ),
    "api_changed": (
        "Объект изменился после того, как вы его прочитали (If-Match).",
        "It has changed since you read it (If-Match).",
    ),
    "api_merged": (
        "Карточка стала другой карточкой: её адрес в заголовке Location.",
        "The card became another one, which Location names.",
    ),
    "api_idempotency-key": (
        "Этот Idempotency-Key уже был у другого запроса.",
        "The Idempotency-Key was used for another request.",
    ),
}
