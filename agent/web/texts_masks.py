"""The strings of what is masked in the text of calls, and of the company's own words; a part of `agent.web.texts`."""

from __future__ import annotations

MASK_TEXTS: dict[str, tuple[str, str]] = {
    "nav_speech": ("Речь", "Speech"),
    "masks_title": ("Что скрывать в расшифровках", "What is masked in transcripts"),
    "masks_lead": (
        "Найденное заменяется на •••• до того, как текст сохранён; скрытое не вернуть, кроме новой расшифровки записи.",
        "What is found is replaced by •••• before the text is stored; only transcribing anew brings it back.",
    ),
    "masks_older": ("Прежние расшифровки", "Older transcripts"),
    "masks_older_lead": (
        "Новое правило действует для новых звонков. Прежние можно просмотреть им отдельно.",
        "A new rule counts for new calls. Older ones are looked through by it when you ask for that.",
    ),
    "masks_run": ("Просмотреть прежние", "Look through older ones"),
    "masks_running": (
        "Просмотрено {done} из {total}, изменено: {changed}.",
        "{done} of {total} looked through, changed: {changed}.",
    ),
    "masks_done": ("Просмотрено {done}, изменено: {changed}.", "{done} looked through, changed: {changed}."),
    "masks_sound": (
        "Запись звука остаётся как есть: проигрыватель на этих местах молчит, но в файле они слышны. "
        "Чтобы номера карты не было и в записи, запись на это время ставят на паузу.",
        "The sound stays as it is: the player keeps quiet there, but in the file it can be heard. "
        "To keep a card number out of the recording too, pause the recording meanwhile.",
    ),
    "mask_preset_cards": ("Номера банковских карт", "Numbers of bank cards"),
    "mask_preset_cards_lead": (
        "От 13 до 19 цифр с верной контрольной цифрой: цифрами, словами, группами, в нескольких репликах подряд.",
        "13 to 19 digits with a check digit that fits: in figures, in words, in groups, over several lines.",
    ),
    "mask_kind": ("Что искать", "What to look for"),
    "mask_kind_cards": ("номера карт", "card numbers"),
    "mask_kind_words": ("слова и фразы", "words and phrases"),
    "mask_kind_pattern": ("регулярное выражение", "regular expression"),
    "mask_text": ("Слова, по одному на строке, или выражение", "Words, one a line, or the expression"),
    "mask_text_lead": (
        "Звёздочка в конце слова значит любое окончание: `пароль*`. В выражении скрываются группы в скобках, "
        "а без них всё найденное: `код\\D{0,20}(\\d{3})`.",
        "A star at the end of a word stands for any ending: `password*`. Of an expression its groups are masked, "
        "without groups all that it finds: `code\\D{0,20}(\\d{3})`.",
    ),
    "mask_try": ("Попробовать на новых расшифровках", "Try it on the newest transcripts"),
    "mask_save_run": ("Сохранить и просмотреть прежние", "Save and look through older ones"),
    "mask_trial": ("Новых расшифровок просмотрено: {count}", "Newest transcripts looked through: {count}"),
    "mask_trial_found": (
        "Скрыло бы мест: {places}, в расшифровках: {count}.",
        "It would mask {places} places in {count} transcripts.",
    ),
    "mask_trial_none": ("Ничего не скрыло бы.", "It would mask nothing."),
    "mask_name_missing": ("У правила нет названия. Оно не сохранено.", "The rule has no name. It was not saved."),
    "mask_text_missing": (
        "Не сказано, что скрывать. Правило не сохранено.",
        "It does not say what to mask. The rule was not saved.",
    ),
    "mask_too_many": (
        "Строк больше 500. Разделите их на несколько правил.",
        "There are more than 500 lines. Make several rules of them.",
    ),
    "mask_pattern_wrong": (
        "Это выражение не подходит: в нём ошибка, оно находит всё подряд или может искать бесконечно. "
        "Уберите повторения внутри повторений.",
        "This expression will not do: it has a mistake, finds everything, or may go on for ever. "
        "Take out repetitions within repetitions.",
    ),
    "glossary_title": ("Слова компании", "Words of the company"),
    "glossary_lead": (
        "Товары, фирмы, имена, которых модель не знает: она будет их ждать и реже ошибётся.",
        "Products, firms and names that a model does not know: it will expect them, and err less often.",
    ),
    "glossary_words": ("Слова и названия, по одному на строке, важные сначала", "Words, one a line, important first"),
    "glossary_hint": (
        "До {most}; модель берёт первые, сколько помещается. Слова действуют для звонков, расшифрованных после этого.",
        "Up to {most}; a model takes the first of them, as many as fit. They count for calls transcribed from now on.",
    ),
    "glossary_saved": ("Сохранено.", "Saved."),
}
