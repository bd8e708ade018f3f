"""Log lines: one set-up for every process, none of them with a secret."""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(level: str, handler: logging.Handler | None = None) -> None:
    """Write log lines of this level and above, to stderr where no handler is given."""
    logging.basicConfig(level=level.upper(), handlers=[handler or logging.StreamHandler()], format=FORMAT)
    for library in ("httpx", "httpcore"):  # they log every URL, and a URL may carry credentials
        logging.getLogger(library).setLevel(logging.WARNING)
