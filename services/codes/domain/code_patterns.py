"""Patterns of generated codes: literal and random symbols, the number of possible codes, the check symbol.

Randomness comes in as bytes. All counts are of canonical codes, because these are unique.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Final, NamedTuple

from services.codes.domain.obscenity import obscene_places, obscene_spans

# The digits and the letters without I, L, O (read as digits) and U (read as V): 32 symbols, 5 bits each.
DEFAULT_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DEFAULT_PATTERN: Final = "####-####-####"
MAX_RANDOM: Final = 64
# A space of up to this many codes is enumerated.
MAX_LOOKED_AT: Final = 4_096
# With a check symbol appended, a code has at most 100 characters, like every code.
MAX_PATTERN_LENGTH: Final = 99

CANONICAL_SYMBOLS: Final = "0123456789ABCDEFGHJKMNPQRSTUVWXYZ"
CHECK_MODULUS: Final = 37
_VALUES: Final = {symbol: value for value, symbol in enumerate(CANONICAL_SYMBOLS)}
# Stored codes may have letters of any script, blanks and marks. Generated ones have only what every keyboard types
# and a check symbol can be computed from.
PATTERN_SYMBOLS: Final = "letters A to Z and a to z, digits, - and _"
_PATTERN: Final = re.compile(r"[0-9A-Za-z_#-]{1,99}", re.ASCII)
_AFFIX: Final = re.compile(r"[0-9A-Za-z_-]{0,64}", re.ASCII)
_CANONICAL: Final = str.maketrans("OIL", "011", "-_")

# At most one in this many possible codes may be live: a guess then costs a billion tries.
GUESSES_PER_CODE: Final = 10**9
# At most half of the possible codes may be used, so that random ones are still found quickly.
_USABLE_SHARE: Final = 2


class SpelledCodes(NamedTuple):
    """Codes in their displayed form and, in the same order, in canonical form."""

    codes: list[str]
    canonicals: list[str]


@dataclass(frozen=True)
class CodePattern:
    """A pattern: `#` is a random symbol of the alphabet, all else is literal.

    With `has_check_symbol`, a last symbol makes the canonical code divisible: see `is_check_right`.
    """

    pattern: str = DEFAULT_PATTERN
    alphabet: str = DEFAULT_ALPHABET
    has_check_symbol: bool = False

    @cached_property
    def random_count(self) -> int:
        """The number of random symbols."""
        return self.pattern.count("#")

    @cached_property
    def canonical_pattern(self) -> str:
        """The pattern of canonical codes, without the check symbol."""
        return self.pattern.upper().translate(_CANONICAL)

    @cached_property
    def canonical_length(self) -> int:
        """The length of canonical codes."""
        return len(self.canonical_pattern) + self.has_check_symbol

    @cached_property
    def possible(self) -> int:
        """The exact number of different canonical codes."""
        if not self.has_check_symbol:
            return int(len(self.alphabet) ** self.random_count)
        return sum(count for rest, count in enumerate(self._by_remainder()) if self._check_of(rest) is not None)

    def every(self) -> list[str] | None:
        """Return all possible canonical codes; None if there are too many to enumerate."""
        if len(self.alphabet) ** self.random_count > MAX_LOOKED_AT:
            return None
        template = self.canonical_pattern.replace("#", "%s")
        canonicals = [template % chosen for chosen in product(self._spelling, repeat=self.random_count)]
        return self._checked(canonicals, canonicals).canonicals if self.has_check_symbol else canonicals

    def usable(self) -> int:
        """Return the maximum number of codes in use."""
        return self.possible // _USABLE_SHARE

    def is_guessable(self, live: int) -> bool:
        """Return whether, with this many live codes, fewer than a billion tries find one."""
        return live * GUESSES_PER_CODE > self.possible

    def needed_length(self, live: int, *, allow_weak: bool) -> int | None:
        """Return how many random symbols this many live codes need; None if no pattern could hold them."""
        for count in range(1, MAX_RANDOM + 1):
            grown = self._with_random(count)
            if live <= grown.usable() and (allow_weak or not grown.is_guessable(live)):
                return count
        return None

    def _with_random(self, count: int) -> "CodePattern":
        literal = self.pattern.replace("#", "")
        return CodePattern(literal + "#" * count, self.alphabet, self.has_check_symbol)

    def _by_remainder(self) -> list[int]:
        """Count the codes without their check symbol by their remainder."""
        counts = [1] + [0] * (CHECK_MODULUS - 1)
        for symbol in self.canonical_pattern:
            values = [_VALUES[each] for each in (self._spelling if symbol == "#" else symbol)]
            following = [0] * CHECK_MODULUS
            for rest, count in enumerate(counts):
                if count:
                    for value in values:
                        following[(2 * rest + value) % CHECK_MODULUS] += count
            counts = following
        return counts

    def _check_of(self, rest: int) -> str | None:
        """Return the check symbol for this remainder; None if the alphabet lacks it."""
        value = -2 * rest % CHECK_MODULUS
        symbol = CANONICAL_SYMBOLS[value] if value < len(CANONICAL_SYMBOLS) else None
        return self._spelling.get(symbol) if symbol is not None else None

    @cached_property
    def _spelling(self) -> dict[str, str]:
        return {symbol.translate(_CANONICAL): symbol for symbol in self.alphabet}

    @cached_property
    def _bytes_to_symbols(self) -> tuple[bytes, bytes]:
        """Return the table from bytes to symbols, and the bytes to drop because they would favour some symbols."""
        size = len(self.alphabet)
        limit = 256 - 256 % size
        table = bytes(ord(self.alphabet[byte % size]) for byte in range(256))
        return table, bytes(range(limit, 256))

    def spell(self, randomness: bytes) -> "SpelledCodes":
        """Return codes from random bytes, each used once; none reads as an obscenity.

        Their number depends on the bytes: some are dropped to keep the choice even, some codes are refused.
        """
        table, dropped = self._bytes_to_symbols
        symbols = randomness.translate(table, dropped).decode("ascii")
        size, template = self.random_count, self.pattern.replace("#", "%s")
        whole = len(symbols) // size * size
        # One text for all codes: folding and searching it is far cheaper than code by code.
        spelled = "\n".join([template % tuple(symbols[start : start + size]) for start in range(0, whole, size)])
        codes = spelled.split("\n") if whole else []
        canonicals = spelled.upper().translate(_CANONICAL).split("\n") if whole else []
        if self.has_check_symbol:
            codes, canonicals = self._checked(codes, canonicals)
        return self._decent(codes, canonicals)

    def _checked(self, codes: list[str], canonicals: list[str]) -> "SpelledCodes":
        """Add the check symbol; a code whose symbol the alphabet lacks is dropped."""
        checks = [self._check_of(remainder(canonical)) for canonical in canonicals]
        folded = {symbol: canonical for canonical, symbol in self._spelling.items()}
        return SpelledCodes(
            [code + check for code, check in zip(codes, checks, strict=True) if check],
            [canonical + folded[check] for canonical, check in zip(canonicals, checks, strict=True) if check],
        )

    def _decent(self, codes: list[str], canonicals: list[str]) -> "SpelledCodes":
        places = obscene_places("\n".join(canonicals))
        suspects = {place // (self.canonical_length + 1) for place in places}
        refused = {index for index in suspects if self._is_obscene(canonicals[index])}
        if not refused:
            return SpelledCodes(codes, canonicals)
        kept = [index for index in range(len(codes)) if index not in refused]
        return SpelledCodes([codes[index] for index in kept], [canonicals[index] for index in kept])

    def _is_obscene(self, canonical: str) -> bool:
        """Return whether chance produced a listed word; a word in the pattern itself is its author's choice."""
        return any(self._has_chance_in(start, end) for start, end in obscene_spans(canonical))

    def _has_chance_in(self, start: int, end: int) -> bool:
        return end > len(self.canonical_pattern) or "#" in self.canonical_pattern[start:end]

    def bytes_for(self, count: int) -> int:
        """Return how many random bytes yield about `count` codes."""
        size = len(self.alphabet)
        kept = 256 - 256 % size
        accepted = self.possible / size**self.random_count if self.has_check_symbol else 1.0
        return int(count * self.random_count * 256 / kept / accepted * 1.02) + 8 * self.random_count


def remainder(canonical: str) -> int:
    """Return the remainder modulo 37 of a canonical code: twice the value so far plus each symbol's value."""
    rest = 0
    for symbol in canonical:
        rest = (2 * rest + _VALUES[symbol]) % CHECK_MODULUS
    return rest


def is_check_right(canonical: str) -> bool:
    """Return whether a canonical code with a check symbol was typed correctly: it leaves no remainder.

    One wrong symbol and two swapped ones, up to 36 places apart, are always found.
    """
    return remainder(canonical) == 0


def checked_pattern(text: str) -> str:
    """Return a pattern; raises ValueError with its fault."""
    if not _PATTERN.fullmatch(text):
        raise ValueError(f"must be 1 to {MAX_PATTERN_LENGTH} of the {PATTERN_SYMBOLS}, and #")
    if not 1 <= text.count("#") <= MAX_RANDOM:
        raise ValueError(f"must have 1 to {MAX_RANDOM} random symbols, written #")
    return text


def checked_affix(text: str) -> str:
    """Return a prefix or suffix; raises ValueError with its fault."""
    if not _AFFIX.fullmatch(text):
        raise ValueError(f"must be at most 64 of the {PATTERN_SYMBOLS}")
    return text
