"""Names of objects and fields of a 1C configuration: the usual ones, those that were set, what $metadata has; pure.

1C:CRM, УТ, КА and ERP name the same things differently, and every company changes its configuration. So each name is an
option, and `cardline crm metadata` proposes those that differ. Sources: 1C:Предприятие 8, *Стандартный интерфейс
OData* (its.1c.ru, v8.3 developer's guide, chapter 17).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from agent.errors import Misconfigured

USUAL: Mapping[str, str] = {
    # cards
    "partners": "Catalog_Партнеры",
    "partner_name": "Description",
    "partner_kind": "ЮрФизЛицо",
    "partner_person": "ЧастноеЛицо",
    "partner_company": "Компания",
    "partner_responsible": "ОсновнойМенеджер_Key",
    "partner_changed": "",
    "contacts": "Catalog_Партнеры_КонтактнаяИнформация",
    "contact_kind": "Тип",
    "contact_phone": "НомерТелефона",
    "contact_address": "АдресЭП",
    "contact_shown": "Представление",
    # calls
    "calls": "Document_ТелефонныйЗвонок",
    "call_incoming": "Входящий",
    "call_subject": "Тема",
    "call_text": "Описание",
    "call_responsible": "Ответственный_Key",
    "call_partner": "АбонентКонтакт_Key",
    "call_partner_name": "АбонентПредставление",
    "call_phone": "АбонентКакСвязаться",
    "call_key": "Комментарий",
    # mails
    "mails_in": "Document_ЭлектронноеПисьмоВходящее",
    "mails_out": "Document_ЭлектронноеПисьмоИсходящее",
    "mail_subject": "Тема",
    "mail_text": "Текст",
    "mail_responsible": "Ответственный_Key",
    "mail_partner": "Партнер_Key",
    "mail_message_id": "ИдентификаторСообщения",
    "mail_state": "СтатусПисьма",
    "mail_state_sent": "Отправлено",
    "mail_key": "Комментарий",
    # deals
    "deals": "Catalog_СделкиСКлиентами",
    "deal_partner": "Партнер_Key",
    "deal_state": "Статус",
    "deal_won": "Выиграна",
    "deal_lost": "Проиграна",
    "deal_amount": "ПотенциальнаяСуммаПродажи",
    "deal_responsible": "Ответственный_Key",
    "deal_created": "ДатаНачала",
    "deal_closed": "ДатаОкончания",
    # users
    "users": "Catalog_Пользователи",
    "user_gone": "Недействителен",
    "sweep_minutes": "30",
    "requests_a_second": "10",
}
"""Option → name. An empty name: the configuration has no such thing, and it is left out."""

NO_NAMES = frozenset({"partner_person", "partner_company", "mail_state_sent", "deal_won", "deal_lost", "sweep_minutes"})
"""Options that are values, not names of fields."""

OBJECTS: Mapping[str, str] = {
    "partners": "partner_",
    "contacts": "contact_",
    "calls": "call_",
    "mails_in": "mail_",
    "mails_out": "mail_",
    "deals": "deal_",
    "users": "user_",
}
"""Option of an object → how the options of its fields begin."""

_ALTERNATIVES: Mapping[str, Sequence[str]] = {
    "partners": ("Catalog_Партнеры", "Catalog_Контрагенты", "Catalog_Клиенты"),
    "contacts": ("Catalog_Партнеры_КонтактнаяИнформация", "Catalog_Контрагенты_КонтактнаяИнформация"),
    "calls": ("Document_ТелефонныйЗвонок", "Document_Событие", "Document_CRM_Взаимодействие"),
    "deals": ("Catalog_СделкиСКлиентами", "Document_CRM_Интерес", "Catalog_Сделки"),
    "users": ("Catalog_Пользователи",),
    "partner_responsible": ("ОсновнойМенеджер_Key", "Ответственный_Key", "Менеджер_Key"),
    "call_partner": ("АбонентКонтакт_Key", "АбонентКонтакт", "Партнер_Key", "Контрагент_Key"),
    "call_text": ("Описание", "Содержание", "СодержаниеСобытия"),
    "call_key": ("Комментарий", "Описание"),
    "call_responsible": ("Ответственный_Key", "Автор_Key"),
    "mail_partner": ("Партнер_Key", "Контрагент_Key", "Отправитель"),
    "mail_text": ("Текст", "ТекстHTML"),
    "mail_key": ("Комментарий", "ИдентификаторСообщения"),
    "deal_amount": ("ПотенциальнаяСуммаПродажи", "СуммаДокумента", "Сумма"),
    "contact_phone": ("НомерТелефона", "Представление"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One option: the name that fits, empty where the base has nothing like it. ``note`` says why it differs."""

    option: str
    name: str
    note: str = ""


def read_metadata(document: bytes) -> dict[str, frozenset[str]]:
    """Entity type → its properties, from the EDMX of ``$metadata`` (OData 3.0, CSDL).

    Raises:
        Misconfigured: it is none, or defines entities of XML.
    """
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document or b"\0" in document[:4096]:
        raise Misconfigured("$metadata is no plain XML.", remedy="Check the address of the publication.")
    try:
        root = ET.fromstring(document)  # noqa: S314 - it defines no entities
    except ET.ParseError as error:
        raise Misconfigured("$metadata cannot be read.", remedy="Check the address of the publication.") from error
    found = {}
    for one in root.iter():
        if one.tag.rpartition("}")[2] in ("EntityType", "ComplexType"):
            names = {part.get("Name", "") for part in one if part.tag.rpartition("}")[2] == "Property"}
            found[one.get("Name", "")] = frozenset(names)
    return found


def propose(metadata: Mapping[str, frozenset[str]], configured: Mapping[str, str]) -> list[Proposal]:
    """What each option should be for this base: objects, then their fields. Mails of both directions share theirs."""
    places = {
        option: _first([configured.get(option, ""), *_ALTERNATIVES.get(option, ())], metadata.keys())
        for option in OBJECTS
    }
    proposals = [
        _proposal(option, configured.get(option, ""), place, "is published in the base")
        for option, place in places.items()
    ]
    for prefix in dict.fromkeys(OBJECTS.values()):
        own = [place for option, place in places.items() if OBJECTS[option] == prefix and place]
        have = frozenset[str]().union(*(metadata[place] for place in own))
        for field, name in configured.items():
            if field.startswith(prefix) and field not in NO_NAMES:
                chosen = _first([name, *_ALTERNATIVES.get(field, ())], have) if name else ""
                proposals.append(_proposal(field, name, chosen, f"is a field of {' and '.join(own)}"))
    return proposals


def _proposal(option: str, wanted: str, found: str, place: str) -> Proposal:
    if found == wanted:
        return Proposal(option=option, name=found)
    if not found:
        return Proposal(option=option, name="", note=f"nothing like {wanted} {place}")
    return Proposal(option=option, name=found, note=f"{wanted} is not there; this {place}")


def _first(names: Sequence[str], have: Container[str]) -> str:
    return next((name for name in names if name and name in have), "")
