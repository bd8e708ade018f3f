"""What most verbs begin with: settings, log lines on stderr, and who asks."""

import getpass
import logging
from typing import Final

from stocksync import __version__
from stocksync.audit import Actor
from stocksync.cli.output import note
from stocksync.errors import SettingsInvalid
from stocksync.logs import configure_logging
from stocksync.settings import Settings, load_settings

USER_AGENT: Final = f"stocksync-cli/{__version__}"
"""By this name the operation log knows what came from a command line."""

_QUIET = "warning"
"""Without STOCKSYNC_LOG_LEVEL: a verb shows progress, not log lines."""


def prepare(store: str | None = None, server: str | None = None) -> Settings:
    """Read the settings, what was typed before the environment, and set logging up. Raises SettingsInvalid.

    `server` of the result is None where the verb works at a store.
    """
    if store is not None and server is not None:
        raise SettingsInvalid("--store 与 --server 只能给出一个")
    settings = load_settings(store=store, server=server)
    if store is not None:
        settings = settings.model_copy(update={"server": None})
    level = settings.log_level if "log_level" in settings.model_fields_set else _QUIET
    configure_logging(level, _StderrHandler())
    return settings


def this_actor() -> Actor:
    """The user of the operating system, for the operation log."""
    return Actor(username=_username(), user_agent=USER_AGENT)


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
