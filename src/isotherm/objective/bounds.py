"""What a method's parameters may be; a breach is a sentence."""

from __future__ import annotations


def at_least(least: float, /, **values: float) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more, not {value:g}")


def at_most(most: float, /, **values: float) -> None:
    for name, value in values.items():
        if value > most:
            raise ValueError(f"{name} must be {most} or less, not {value:g}")


def above(bound: float, /, **values: float) -> None:
    for name, value in values.items():
        if value <= bound:
            raise ValueError(f"{name} must be above {bound:g}, not {value:g}")


def off_or_above(bound: float, /, **values: float) -> None:
    for name, value in values.items():
        if value != 0 and value <= bound:
            raise ValueError(f"{name} must be 0, which is off, or above {bound:g}, not {value:g}")


def below(bound: float, /, **values: float) -> None:
    for name, value in values.items():
        if value >= bound:
            raise ValueError(f"{name} must be below {bound:g}, not {value:g}")


def one_of(choices: tuple[str, ...], **values: str) -> None:
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f"{name} cannot be {value!r}; valid are {', '.join(choices)}")
