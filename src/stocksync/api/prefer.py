"""The Prefer header (RFC 7240): what a client would like, as far as this API can do it."""

import re
from dataclasses import dataclass
from typing import Final

_LONGEST_WAIT: Final = 300
_WAIT = re.compile(r"[0-9]{1,9}\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """`wait` in seconds, 0 for none; `strict` wants an error where lenient handling would answer.

    `respond_async` asks for what this API does anyway: to answer before the run has ended.
    """

    wait: int = 0
    strict: bool = False
    respond_async: bool = False

    def applied(self, *, waited: bool = False, at_once: bool = False) -> dict[str, str]:
        """The header Preference-Applied, where a preference was followed."""
        words = [f"wait={self.wait}"] if waited else []
        if self.respond_async and at_once:
            words.append("respond-async")
        if self.strict:
            words.append("handling=strict")
        return {"Preference-Applied": ", ".join(words)} if words else {}


def parse_prefer(header: str | None) -> Preference:
    """Read the header; what is malformed or unknown is ignored, as the RFC wants."""
    words: dict[str, str] = {}
    for part in (header or "").split(","):
        name, _, value = part.partition(";")[0].partition("=")
        words.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = words.get("wait", "")
    seconds = min(int(wait), _LONGEST_WAIT) if _WAIT.match(wait) else 0
    return Preference(
        wait=seconds,
        strict=words.get("handling", "").lower() == "strict",
        respond_async="respond-async" in words,
    )
