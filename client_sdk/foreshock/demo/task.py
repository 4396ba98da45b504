"""Arithmetic puzzles with many answers: make a target of some digits, and a verifier that cannot be argued with.

A puzzle reads ``358=47:`` ("use 3, 5 and 8 once each, make 47") and is solved by ``8*5+3`` or ``3+5*8`` and a
line end. Most puzzles have several answers, so a policy has something to be undecided about: that is the entropy
which the demo watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations, product

import torch
from torch import Tensor

ALPHABET = "0123456789+-*=:\n"
OPERATORS = "+-*"
END = ALPHABET.index("\n")

_ID = {character: index for index, character in enumerate(ALPHABET)}


def encode(text: str) -> list[int]:
    """One token per character."""
    return [_ID[character] for character in text]


def decode(tokens: Sequence[int]) -> str:
    """The text up to and without the line end."""
    text = "".join(ALPHABET[token] for token in tokens)
    return text.partition("\n")[0]


def value(expression: str) -> int | None:
    """What the expression is worth, with times before plus and minus; None when it is not one.

    Only single digits joined by operators are expressions.

    >>> value("8*5+3"), value("3-8"), value("8*+3"), value("")
    (43, -5, None, None)
    """
    if len(expression) % 2 == 0:
        return None
    total, term = 0, 1
    sign = 1
    for index, character in enumerate(expression):
        if index % 2 == 0:
            if not character.isdecimal():
                return None
            term *= int(character)
        elif character not in OPERATORS:
            return None
        elif character != "*":
            total, sign, term = total + sign * term, 1 if character == "+" else -1, 1
    return total + sign * term


@dataclass(frozen=True)
class Puzzle:
    """Digits to use once each, and the number to make of them."""

    digits: tuple[int, ...]
    target: int
    answers: tuple[str, ...]

    def accepts(self, answer: str) -> bool:
        """True when the answer uses each digit exactly once and makes the target."""
        if value(answer) != self.target:
            return False
        return sorted(answer[::2]) == sorted(map(str, self.digits))


def puzzles(count_of_digits: int, largest: int = 99) -> list[Puzzle]:
    """Every puzzle of so many digits whose target lies between 0 and ``largest``, with all of its answers."""
    found = []
    for digits in combinations_with_replacement(range(1, 10), count_of_digits):
        answers: dict[int, list[str]] = {}
        for order in sorted(set(permutations(digits))):
            for operators in product(OPERATORS, repeat=count_of_digits - 1):
                text = str(order[0]) + "".join(f"{o}{d}" for o, d in zip(operators, order[1:], strict=True))
                worth = value(text)
                if worth is not None and 0 <= worth <= largest:
                    answers.setdefault(worth, []).append(text)
        found += [Puzzle(digits, target, tuple(texts)) for target, texts in sorted(answers.items())]
    return found


def prompt(puzzle: Puzzle, generator: torch.Generator) -> list[int]:
    """The puzzle as tokens, its digits in an order drawn anew, all prompts of one size equally long."""
    order = torch.randperm(len(puzzle.digits), generator=generator).tolist()
    return encode("".join(str(puzzle.digits[i]) for i in order) + f"={puzzle.target:02d}:")


def draw(pool: Sequence[Puzzle], count: int, generator: torch.Generator) -> list[Puzzle]:
    """So many puzzles of the pool, all different where the pool allows it."""
    return [pool[i] for i in torch.randperm(len(pool), generator=generator)[:count].tolist()]


def grade(asked: Sequence[Puzzle], answers: Tensor) -> Tensor:
    """Reward of each row of answer tokens: 1.0 where its puzzle accepts it, else 0.0."""
    rows: list[list[int]] = answers.tolist()
    return torch.tensor([float(puzzle.accepts(decode(row))) for puzzle, row in zip(asked, rows, strict=True)])
