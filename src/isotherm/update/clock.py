"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """`with clock("sample"):` adds to that part; `row()` gives the seconds of all parts."""

    def __init__(self) -> None:
        self.started, self.parts = time.monotonic(), {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.parts[part] = self.parts.get(part, 0.0) + time.monotonic() - begin

    def row(self) -> dict[str, float]:
        total = time.monotonic() - self.started
        return {"seconds": total} | {f"{name}_seconds": s for name, s in self.parts.items()}
