"""What of a text is a word, before PostgreSQL parses it: the same in an index and in a question.

PostgreSQL's parser knows the punctuation of ASCII only where the database has the locale C, as the embedded one has:
«Ромашка» is another word to it than Ромашка, and a dash is a word. So all other marks become blanks.
"""

from __future__ import annotations

_INSTEAD = {"ё": "е", "Ё": "е", "/": " ", "<": " ", ">": " "}
# Soft hyphens, stress marks, joiners, marks of direction and of variants are nothing …
_NOTHING = r"\u00ad\u0301\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
# … and what is no letter, digit or accent is a blank: punctuation, symbols, spaces, pictures.
_BLANK = (
    r"\u0080-\u00a9\u00ab\u00ac\u00ae-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7\u1680\u2000-\u200b\u2010-\u2029"
    r"\u202f-\u205f\u207a-\u207e\u208a-\u208e\u20a0-\u20cf\u2116\u2117\u2120\u2122\u2190-\u245f\u2500-\u2775\u2794-\u2bff\u2e00-\u2e2e\u2e30-\u2e7f"
    r"\u3000-\u3004\u3008-\u3020\u3030\u303d\u30fb\ufe10-\ufe1f\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
    r"\uff5b-\uff65\uffe0-\uffff\U0001f000-\U0001faff"
)


def folded(expression: str) -> str:
    """SQL: ё is е, a slash parts words, markup is words too, and no word has a mark in it that nobody types."""
    for letter, other in _INSTEAD.items():  # `translate` looks at each letter of a text for all of these
        expression = f"replace({expression}, '{letter}', '{other}')"
    return f"regexp_replace(regexp_replace({expression}, '[{_NOTHING}]', '', 'g'), '[{_BLANK}]', ' ', 'g')"
