"""What runs in a worker process: reads a call, carries it out, writes its answer, until nobody is there.

Frames on stdin and stdout are 8 bytes of length and that many bytes of JSON. The SDKs print to stdout, so
the frames get a descriptor of their own and what is printed goes nowhere.
"""

import ctypes
import importlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final

from stocksync.errors import SourceError, SourceRateLimited

_PR_SET_PDEATHSIG: Final = 1

Calls = Mapping[str, Callable[..., object]]


def main(module: str) -> None:
    """Serve the calls of one module until stdin ends."""
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, questions), daemon=True).start()
    calls: Calls = importlib.import_module(module).CALLS
    while True:
        answer = json.dumps(_answer(calls, questions.get()), ensure_ascii=True).encode()
        answers.write(len(answer).to_bytes(8, "big") + answer)
        answers.flush()


def _die_with_parent() -> None:
    """Ask the kernel (Linux) for our death when the parent dies; elsewhere the end of stdin tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _read(stream: BinaryIO, questions: "queue.SimpleQueue[bytes]") -> None:
    """Pass the questions on. A thread of its own: it sees the parent leave even while a call is spinning."""
    while True:
        head = stream.read(8)
        if len(head) < 8:  # noqa: PLR2004 - the frame's length field
            os._exit(0)
        questions.put(stream.read(int.from_bytes(head, "big")))


def _answer(calls: Calls, question: bytes) -> dict[str, Any]:
    """Carry out one call. An edge: what the module did not make ours is told as an error of that call."""
    request = json.loads(question)
    try:
        return {"result": calls[request["call"]](*request["arguments"])}
    except SourceError as exc:
        retry_after = exc.retry_after if isinstance(exc, SourceRateLimited) else None
        return {"error": type(exc).__name__, "message": str(exc), "retry_after": retry_after}
    except Exception as exc:
        return {"error": "SourceNonsense", "message": f"{request['call']} 内部错误（{type(exc).__name__}）"}


if __name__ == "__main__":
    main(sys.argv[1])
