"""Text that a database takes: JSON can carry lone surrogates, UTF-8 cannot."""

import json
from collections.abc import Mapping
from typing import Any


def storable(text: str) -> str:
    """Put a question mark for what is no character, and leave everything else as it is."""
    return text.encode("utf-8", "replace").decode("utf-8")


def storable_json(value: Mapping[str, Any]) -> str:
    """Encode compactly, in characters that people can read."""
    return storable(json.dumps(dict(value), ensure_ascii=False, separators=(",", ":")))
