"""Fixtures for every folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isotherm import native


@pytest.fixture(params=["compiled", "plain"])
def functions(request: pytest.FixtureRequest) -> Iterator[str]:
    """Once with the functions in C, once without; for modules that say `usefixtures("functions")`."""
    with native.using(request.param == "compiled"):
        if request.param == "compiled" and not native.on():
            pytest.skip(native.reason())
        yield request.param
