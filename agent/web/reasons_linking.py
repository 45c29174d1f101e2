"""What the linker says of a decision, in Russian; `agent.web.reasons` has them all together."""

from __future__ import annotations

LINK_REASONS = (
    (r"login (.+?) is the card's(.*)", r"учётная запись \1 есть на карточке\2"),
    (r"(.+) is on more than (\d+) cards: (.+)", r"\1 есть больше чем на \2 карточках: \3"),
    (r"(.+) has said that (.+) is this client's", r"так решил(а) \1: \2 — этого клиента"),
    (r"(.+) has said that (.+) is private", r"так решил(а) \1: \2 — личное"),
    (r"(.+) has said that (.+) concerns nobody", r"так решил(а) \1: \2 никого не касается"),
    (r"inherited: its thread is on the card \(No. (\d+)\)", r"вся переписка на этой карточке (№\1)"),
    (r"inherited: its conversation is on the card \(No. (\d+)\)", r"весь разговор на этой карточке (№\1)"),
    (r"unknown numbers are ignored", "неизвестные номера не разбираются"),
    (r"unknown numbers at (.+) are ignored", r"неизвестные номера на \1 не разбираются"),
    (r"login (.+) is shared by (.+): nobody is credited", r"учётная запись \1 общая (\2): никому не засчитан"),
    (r"it is the company of all others", "это компания всех остальных"),
    (r"its thread is on this card", "переписка на этой карточке"),
    (r"its conversation is on this card", "разговор на этой карточке"),
    (r"it has the name of the other side", "совпало имя"),
    (r"it alone has an open deal", "открытая сделка есть только здесь"),
    (
        r"it alone has an open deal of the employee who took part",
        "только здесь открытая сделка этого сотрудника",
    ),
    (r"the employee who took part is responsible for it", "участвовавший сотрудник отвечает за неё"),
    (r"the same employee talked with it last", "с ней этот сотрудник говорил последним"),
    (r"the last talk was with it", "последний разговор был с ней"),
)
