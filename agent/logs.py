"""How this program logs: events with fields, as text for people or JSON for machines, always to standard error."""

from __future__ import annotations

import io
import logging
import sys

import structlog


class _StandardError(io.TextIOWrapper):
    """Whatever standard error is at the moment of writing: loggers are kept, and it may have been put elsewhere."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def close(self) -> None:
        """It is not ours to close."""


def configure_logging(log_format: str, *, level: str = "INFO") -> None:
    """Set up structlog and bring the libraries' own log records into the same form."""
    output = _StandardError()
    chain: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor
    if log_format == "json":
        chain.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        chain.append(_harmless)
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # never with the values of variables
        )
    structlog.configure(
        processors=[*chain, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=chain, processors=[_drop_internals, renderer])
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _harmless(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """What strangers sent may stand in a field: it must neither begin a line of its own nor drive the terminal."""
    shown = {name: _escaped(value, but="\t\r\n") if isinstance(value, str) else value for name, value in event.items()}
    return {
        **shown,
        "event": _escaped(str(event.get("event", ""))),
    }  # the renderer quotes fields with spaces, not events


def _escaped(text: str, *, but: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in but else one.encode("unicode_escape").decode() for one in text)


def _drop_internals(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(None, "", event)
