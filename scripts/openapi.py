"""Prints the OpenAPI document: what the page's types are made from."""

import json
import sys
from typing import TYPE_CHECKING, cast

from stocksync.api import create_api
from stocksync.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI


def main() -> None:
    """Print it with sorted keys, so that it differs only where the API does."""
    api = cast("FastAPI", create_api(Settings()).application)
    json.dump(api.openapi(), sys.stdout, ensure_ascii=False, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
