"""How log records look: text for a terminal, one JSON object a line for everything else."""

import logging
import sys
from datetime import UTC, datetime

import orjson

from service.settings import Settings


class JsonFormatter(logging.Formatter):
    """One JSON object per record; `extra={"fields": {…}}` become members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """A line a person reads; fields follow as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        fields = getattr(record, "fields", {})
        shown = " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{super().format(record)} {shown}".rstrip()


def configure(settings: Settings) -> None:
    """Send every record to stderr, once, in the form the settings name."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
