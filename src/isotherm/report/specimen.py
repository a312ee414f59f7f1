"""What the microscope looks at: responses, token by token, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import tokenizers

NATS = "nats"


class Kind(NamedTuple):
    """A quantity that a token may have. `signed`: drawn in two colours about 0. `moves`: a change of entropy."""

    title: str
    unit: str
    definition: str
    signed: bool = False
    moves: bool = False


STEP = "nats at a step of 1 on the logits"
KINDS = {
    "entropy": Kind("entropy", NATS, "H, exact, of the whole next-token distribution where the token was drawn"),
    "surprisal": Kind("surprisal", NATS, "-log pi of the token"),
    "advantage": Kind("advantage", "", "A, of the response, before any shape or weight", signed=True),
    "shaped": Kind("shaped advantage", "", "A after the method's shape", signed=True),
    "covariance": Kind(
        "covariance", NATS, "(log pi - mean log pi) (A - mean A) over the batch (2505.22617, eq. 9)", signed=True
    ),
    "predicted": Kind(
        "predicted change",
        STEP,
        "of H at the token's own state: the exact first order of the whole loss, times the tokens of the batch",
        signed=True,
        moves=True,
    ),
    "published": Kind(
        "predicted change",
        STEP,
        "of H at the token's own state: -A pi (1 - pi) (log pi + H), as published (2510.10150) and without S2",
        signed=True,
        moves=True,
    ),
    "measured": Kind("measured change", NATS, "of H at the token's own state, by the update", signed=True, moves=True),
    "weight": Kind("weight", "", "what the method multiplies the token's term of the loss with"),
    "coefficient": Kind("coefficient", "", "of the method's penalty on the token"),
}


class Quantity(NamedTuple):
    name: str
    kind: Kind
    values: np.ndarray  # float64 per token, NaN where the token has none


@dataclass(frozen=True)
class Specimen:
    """R responses in G groups with T tokens, response after response. What a source lacks is None or NaN."""

    title: str
    notes: list[str]  # sentences: where the numbers come from, and what is missing
    prompts: list[str]  # [G]
    families: list[str]  # [G]
    group: np.ndarray  # [R] int64, index into prompts
    sample: np.ndarray  # [R] int64
    length: np.ndarray  # [R] int64
    reward: np.ndarray  # [R] float64, NaN where it is not known
    verdicts: list[str] | None  # [R]
    ids: np.ndarray  # [T] int64
    words: dict[int, str]  # the text of each id; empty where there is no tokenizer
    quadrant: np.ndarray | None  # [T], 0 for none
    quantities: list[Quantity] = field(default_factory=list)

    def first(self, responses: int) -> Specimen:
        """Only the first responses."""
        tokens = int(self.length[:responses].sum())
        arrays = {name: getattr(self, name)[:responses] for name in ("group", "sample", "length", "reward")}
        return Specimen(
            title=self.title, notes=self.notes, prompts=self.prompts, families=self.families, words=self.words,
            verdicts=None if self.verdicts is None else self.verdicts[:responses], ids=self.ids[:tokens],
            quadrant=None if self.quadrant is None else self.quadrant[:tokens],
            quantities=[q._replace(values=q.values[:tokens]) for q in self.quantities], **arrays,
        )  # fmt: skip


def words(tokenizer: tokenizers.Tokenizer, ids: Iterable[int]) -> dict[int, str]:
    """The text of each token by itself. Bytes that are no character alone are shown as the tokenizer spells them."""
    found = {}
    for i in ids:
        piece = tokenizer.id_to_token(i) if 0 <= i < 2**31 else None
        if piece is None:
            found[i] = f"[{i}]"
            continue
        text = tokenizer.decode([i], skip_special_tokens=False)
        broken = "\N{REPLACEMENT CHARACTER}" in text or not text
        spaced = piece.startswith("\N{LOWER ONE EIGHTH BLOCK}") and not text.startswith(" ")
        found[i] = piece if broken else " " + text if spaced else text
    return found
