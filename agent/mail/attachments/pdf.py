"""Text of PDF files. The one file that knows pypdf. Pure."""

from __future__ import annotations

import io
import logging

from agent.errors import Unreadable

_MOST_PAGES = 500

logging.getLogger("pypdf").disabled = True  # it tells of what was in the file


def read_pdf(content: bytes, *, limit: int) -> str:
    """At most ``limit`` characters of the first 500 pages. Pages that are pictures have none.

    Raises:
        Unreadable: it is locked or damaged, and not even one page can be read.
    """
    import pypdf  # here, so that only the process that reads files carries it
    from pypdf.errors import FileNotDecryptedError, PyPdfError

    pieces: list[str] = []
    left = limit
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted:
            reader.decrypt("")  # many are locked with an empty password against changes only
        for number, page in enumerate(reader.pages):
            if number >= _MOST_PAGES or left <= 0:
                break
            words = page.extract_text()
            pieces.append(words[:left])
            left -= len(words)
    except FileNotDecryptedError:
        raise Unreadable("it is locked with a password") from None
    except (PyPdfError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        if not pieces:
            raise Unreadable(f"it is damaged ({type(error).__name__})") from None
    return "\n".join(pieces)
