"""What most verbs begin with: settings, log lines on stderr, and who asks."""

import getpass
import logging

from stocksync import __version__
from stocksync.audit import Actor
from stocksync.cli.output import note
from stocksync.logs import configure_logging
from stocksync.settings import Settings, load_settings

_QUIET = "warning"
"""Without STOCKSYNC_LOG_LEVEL: a verb shows progress, not log lines."""


def prepare(store: str | None = None) -> Settings:
    """Read the settings, `store` before the environment, and set logging up. Raises SettingsInvalid."""
    settings = load_settings(store=store)
    level = settings.log_level if "log_level" in settings.model_fields_set else _QUIET
    configure_logging(level, _StderrHandler())
    return settings


def this_actor() -> Actor:
    """The user of the operating system, for the operation log."""
    return Actor(username=_username(), user_agent=f"stocksync-cli/{__version__}")


def _username() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user has no name
        return None


class _StderrHandler(logging.Handler):
    """Writes above a live view instead of through it, and keeps a traceback's lines."""

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            note(line)
