"""How mail programs and people announce quoted mail and sign their own, by language. Tables only.

Collected from what Outlook, Gmail, Apple Mail, Thunderbird, The Bat!, Yandex and Mail.ru write. A language is added by
adding its words; all of them are compared in lower case.
"""

from __future__ import annotations

DIVIDERS = (
    "original message", "forwarded message", "begin forwarded message", "reply message", "original appointment",
    "исходное сообщение", "пересылаемое сообщение", "пересланное сообщение", "переадресованное сообщение",
    "начало переадресованного сообщения", "начало пересылаемого сообщения", "исходное письмо",
    "конец переадресованного сообщения", "исходная встреча",
    "ursprüngliche nachricht", "weitergeleitete nachricht", "anfang der weitergeleiteten nachricht",
    "message d'origine", "message d’origine", "message original", "message transféré",
    "début du message transféré", "début du message réexpédié",
)  # fmt: skip
"""Between rows of dashes, or alone on a line with a colon: all that follows is quoted."""

LABELS = {
    "from": ("from", "от", "от кого", "von", "de", "отправитель"),
    "sent": (
        "sent",
        "date",
        "отправлено",
        "дата",
        "gesendet",
        "datum",
        "envoyé",
        "date d’envoi",
        "date d'envoi",
        "когда",
    ),
    "to": ("to", "кому", "an", "à", "pour", "получатель"),
    "cc": ("cc", "копия", "kopie", "копия кому"),
    "subject": ("subject", "тема", "betreff", "objet"),
    "reply": ("reply-to", "ответить на", "antwort an", "répondre à"),
}
"""Labels of a header that was copied into the text."""

WROTE = (
    "wrote", "writes", "пишет", "писал", "писала", "писали", "писал(а)", "написал", "написала", "написал(а)",
    "schrieb", "schreibt", "a écrit",
)  # fmt: skip
"""The verb of «On Monday, Anna wrote:»."""

CLOSINGS = (
    "с уважением", "с глубоким уважением", "с искренним уважением", "с наилучшими пожеланиями", "с почтением",
    "всего доброго", "всего наилучшего", "искренне ваш", "искренне ваша", "с благодарностью",
    "best regards", "kind regards", "warm regards", "with best regards", "with kind regards", "regards",
    "thanks and regards", "thanks & regards", "best wishes", "sincerely", "yours sincerely", "yours faithfully",
    "yours truly", "sincerely yours", "cheers", "all the best",
    "mit freundlichen grüßen", "mit freundlichem gruß", "mit freundlichen grüssen", "freundliche grüße", "viele grüße",
    "beste grüße", "herzliche grüße", "liebe grüße", "mfg",
    "cordialement", "bien cordialement", "très cordialement", "bien à vous", "salutations", "sincères salutations",
    "meilleures salutations", "sincèrement",
)  # fmt: skip
"""How a signature begins."""

SENT_FROM = (
    "sent from my", "sent from mail", "sent from outlook", "sent from yahoo", "sent from proton", "sent with proton",
    "get outlook for", "sent via",
    "отправлено с", "отправлено из", "отправлено через", "послано с",
    "von meinem", "gesendet von", "gesendet mit", "diese nachricht wurde von meinem",
    "envoyé de mon", "envoyé depuis", "envoyé à partir de",
)  # fmt: skip
"""What a telephone or a program puts under the text."""
