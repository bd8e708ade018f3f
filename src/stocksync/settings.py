"""Settings from the environment (STOCKSYNC_*): read once, passed down, never looked up again."""

import re
from datetime import date
from typing import Annotated, Any

from platformdirs import user_data_path
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stocksync.errors import SettingsInvalid

_MASK = "******"
_CREDENTIALS = re.compile(r"//[^/\s]+@")
"""The user:password of a URL."""

Names = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list in the environment."""


def default_store() -> str:
    """The embedded store in the user's data directory."""
    return f"sqlite:///{user_data_path('stocksync') / 'stocksync.db'}"


class Settings(BaseSettings):
    """Every setting, with its default; documented for users in docs/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix="STOCKSYNC_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    store: str = Field(default_factory=default_store)
    """URL of the store: sqlite:///path/to/file.db or mongodb://host,host/database?replicaSet=name"""
    server: str | None = None
    """URL of a server, http://host:port: the command line talks to it instead of opening the store."""
    sources: Names = Field(default=("tushare", "akshare", "baostock"), min_length=1)
    """The sources in order of trust; absent = off."""
    tushare_token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("STOCKSYNC_TUSHARE_TOKEN", "TUSHARE_TOKEN")
    )
    """Token of Tushare Pro; TUSHARE_TOKEN is read too."""
    tushare_url: str = "https://api.tushare.pro"
    """Where Tushare answers; a path in it means that the API's name is appended to it."""
    akshare_redirect: str | None = None
    """Send every request of AKShare to {this}/{original host}{path}: for simulators."""
    baostock_address: str | None = None
    """host:port of BaoStock, where it is not the public one: for simulators."""
    call_timeout: float = Field(default=30, gt=0, le=600)
    """Seconds for one exchange with an upstream."""
    dataset_timeout: float = Field(default=100, gt=0, le=3600)
    """Seconds for everything that one source does for one dataset: pages, retries, waits."""
    min_stocks: int = Field(default=4000, ge=1)
    """Fewer listings than this are not the whole market."""
    max_shrink: float = Field(default=0.10, ge=0, lt=1)
    """A list smaller by more than this share than the source's last good one is not believed."""
    min_coverage: float = Field(default=0.90, gt=0, le=1)
    """Daily data for a smaller share of the listed stocks is incomplete."""
    as_of: date | None = None
    """Sync the figures of this day instead of today's: for replays of recorded data (2026-04-15)."""
    rescue_seconds: float = Field(default=15, ge=2, le=600)
    """A run whose owner died is closed within this time."""
    resume_interrupted: bool = True
    """A server follows up a run whose owner died with a new one."""
    keep_runs_days: int = Field(default=365, ge=1, le=36_500)
    """Runs that ended earlier are deleted."""
    allowed_hosts: Names = ()
    """Host names, beyond this machine's loopback names, that the server answers to."""
    allowed_origins: Names = ()
    """Origins of other pages that may send requests, e.g. https://quant.example."""
    max_streams: int = Field(default=10_000, ge=1, le=100_000)
    """Event streams at once in one worker process; beyond, 503."""
    log_level: str = "info"
    """debug, info, warning or error."""

    @field_validator("sources", "allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("allowed_hosts")
    @classmethod
    def _names_only(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Host names without a port: any port is meant."""
        return tuple(name.lower().partition(":")[0] for name in value)

    @field_validator("allowed_origins")
    @classmethod
    def _origins_only(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Origins as browsers send them. A star would let every page of the web start a sync."""
        origins = tuple(origin.lower().rstrip("/") for origin in value)
        if any("://" not in origin for origin in origins):
            raise ValueError("应为 https://主机名 的形式，不接受 *")
        return origins

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("应为 debug、info、warning 或 error")
        return value.lower()

    def masked(self) -> dict[str, Any]:
        """Every effective setting, for display: secrets are replaced, also inside of URLs."""
        return {name: _without_secrets(getattr(self, name)) for name in type(self).model_fields}


def _without_secrets(value: object) -> object:
    if isinstance(value, SecretStr):
        return _MASK
    return _CREDENTIALS.sub(f"//{_MASK}@", value) if isinstance(value, str) else value


def load_settings(**overrides: object) -> Settings:
    """Read the environment. Raises SettingsInvalid, naming each setting that is wrong and never its value."""
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as exc:
        faults = "; ".join(
            f"{_variable(fault['loc'])}: {fault['msg']}"
            for fault in exc.errors(include_input=False, include_url=False)
        )
        raise SettingsInvalid(f"配置无效：{faults}") from None


def _variable(location: tuple[int | str, ...]) -> str:
    return f"STOCKSYNC_{str(location[0]).upper().removeprefix('STOCKSYNC_')}"
