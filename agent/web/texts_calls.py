"""The strings of the page of a call; a part of `agent.web.texts`."""

from __future__ import annotations

CALL_TEXTS: dict[str, tuple[str, str]] = {
    # Player
    "player": ("Запись разговора", "Recording of the call"),
    "play": ("Слушать", "Play"),
    "pause_sound": ("Остановить", "Pause"),
    "play_or_pause": ("Слушать или остановить", "Play or pause"),
    "position": ("Место в записи", "Position in the recording"),
    "back_5": ("На 5 секунд назад", "Back 5 seconds"),
    "forward_5": ("На 5 секунд вперёд", "Forward 5 seconds"),
    "speed": ("Скорость", "Speed"),
    "skip_silence": ("Без пауз", "Skip silence"),
    "skip_silence_hint": ("Пропускать места, где никто не говорит", "Skip the places where nobody speaks"),
    "mute": ("Не слышать: {who}", "Mute: {who}"),
    "share": ("Ссылка на момент", "Link to this moment"),
    "share_hint": (
        "Скопировать ссылку на этот момент; она откроется тем, кому виден звонок",
        "Copy a link to this moment; it opens for those who may see the call",
    ),
    "share_done": ("Скопировано", "Copied"),
    "sound_failed": (
        "Запись не воспроизводится. Обновите страницу; если не поможет, скажите администратору.",
        "The recording does not play. Reload the page; if that does not help, tell your administrator.",
    ),
    "no_download": ("сохранять файл вам нельзя", "you may not save the file"),
    "recording_other": ("Ещё одна запись этого звонка:", "Another recording of this call:"),
    # What happened
    "moment_joined": ("Присоединился: {who}", "Joined: {who}"),
    "moment_left": ("Вышел: {who}", "Left: {who}"),
    "moment_gap": ("Нет звука", "No sound"),
    "moment_interruption": ("Перебивание", "Interruption"),
    "moment_interruptions": ("Перебивания", "Interruptions"),
    "moment_seconds": ("{seconds} с", "{seconds} s"),
    # Comments
    "comments": ("Комментарии", "Comments"),
    "comment_text": ("Комментарий", "Comment"),
    "comment_at": ("Время", "Time"),
    "comment_send": ("Добавить", "Add"),
    "comment_add": ("Добавить комментарий", "Add a comment"),
    "comment_remove": ("Удалить", "Remove"),
    "comment_wrong": (
        "Нужен текст, а время пишется как 1:13. Комментарий не сохранён.",
        "Some text is needed, and the time is written as 1:13. The comment was not saved.",
    ),
    "not_saved": (
        "Не сохранилось. Проверьте связь и попробуйте ещё раз.",
        "It was not saved. Check the connection and try again.",
    ),
    # The text
    "said_correct": ("Исправить текст", "Correct the text"),
    "said_corrected": ("исправлено: {by}", "corrected by {by}"),
    "said_undo": ("Вернуть распознанное", "Back to what was recognised"),
    "cancel": ("Отмена", "Cancel"),
    # Keys
    "keys_title": ("Клавиши", "Keys"),
    "keys_5": ("На 5 секунд назад или вперёд", "Back or forward 5 seconds"),
    "keys_1": ("На секунду назад или вперёд", "Back or forward one second"),
    "keys_line": ("Предыдущая или следующая реплика", "Previous or next line"),
    "keys_mute": ("Не слышать первого или второго", "Mute the first or the second voice"),
    "keys_mute_all": ("Без звука", "Mute everything"),
    "close": ("Закрыть", "Close"),
}
