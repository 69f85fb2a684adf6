"""Number rules that models state in prose: "should be 4n+1"."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORMULA = re.compile(r"(?<![\w.])(\d{1,4})\s*[*x×]?\s*n(?:\s*\+\s*(\d{1,4}))?(?![\w(])", re.IGNORECASE)
_PLUS_IF_DIVISIBLE = re.compile(r"divisible by (\d{1,4})\b[^.]*?\bn\s*\+\s*(\d{1,4})\b", re.IGNORECASE)
_MULTIPLE = re.compile(
    r"\b(?:must|should|has to|needs? to) be (?:a )?(?:multiples? of|divisible by) (\d{1,4})\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Whole numbers of the form factor * n + offset, n = 0, 1, 2 ..."""

    factor: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Rule | None:
        """Reads a rule from its short form ("4n+1") or from a help text that states one.

        Args:
            text: "4n+1", "The number should be 4n+1", "If N is divisible by 4 the length should be N+1",
                "must be a multiple of 16".

        Returns:
            The rule, or None when the text states none.
        """
        if found := _PLUS_IF_DIVISIBLE.search(text):
            return cls._of(int(found[1]), int(found[2]))
        if (found := _FORMULA.search(text)) and (found[2] or text.strip() == found[0]):
            return cls._of(int(found[1]), int(found[2] or 0))
        if found := _MULTIPLE.search(text):
            return cls._of(int(found[1]), 0)
        return None

    @classmethod
    def _of(cls, factor: int, offset: int) -> Rule | None:
        return cls(factor, offset) if factor > 1 else None

    def __str__(self) -> str:
        return f"{self.factor}n+{self.offset}" if self.offset else f"{self.factor}n"

    def fits(self, number: int) -> bool:
        """True when the number is one of factor * n + offset with n >= 0."""
        return number >= self.offset and (number - self.offset) % self.factor == 0

    def nearest(self, number: int) -> tuple[int, int]:
        """Returns the fitting numbers just below and above; both the number itself where it fits.

        Below the smallest fitting number both are that smallest one.
        """
        if number <= self.offset:
            return self.offset, self.offset
        below = number - (number - self.offset) % self.factor
        return (below, below) if below == number else (below, below + self.factor)

    def examples(self, around: int) -> list[int]:
        """Returns up to five fitting numbers around one, rising."""
        below, _ = self.nearest(around)
        return [number for step in range(-2, 3) if self.fits(number := below + step * self.factor)]
