"""The server's log: lines of text, or one JSON object a line."""

import json
import logging
import time
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """One JSON object a line; a request's line has its figures as fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"time": moment, "level": record.levelname, "logger": record.name}
        fields = getattr(record, "fields", None)
        said |= fields or {"message": record.getMessage()}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


def begin(kind: str) -> None:
    """Log to standard error from now on; `kind` is `text` or `json`."""
    text = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    text.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
