"""Which strings read as an obscenity: words of a list, also spelled with digits for letters."""

import re
from collections.abc import Iterable
from typing import Final

# Words, not meanings. Short words that are harmless inside others are omitted.
_LISTED: Final = """
ANAL ANUS ARSE ASS BASTARD BITCH BOLLOCK BONER BOOB CLIT COCK COON CRAP CUM CUNT DAMN DICK DILDO DYKE FAG FANNY FART
FCK FICK FOTZE FUC FUK GOOK HITLER HOMO HURE JIZZ KIKE KKK MERDE MUFF MUSCHI NAZI NEGER NEGRO NIGGA NIGGER NIGR NUTTE
PAKI PEDO PENIS PISS POOF POOP PORN PRICK PUSSY PUTA PUTO QUEER RAPE SCAT SCHEISS SCHLAMPE SEMEN SEX SHAG SHIT SLUT
SMUT SPERM SPIC SUCK TITS TURD TWAT VAGINA VOTZE WANK WHORE WICHSE WTF
"""
LISTED: Final = frozenset(_LISTED.split())

# Letters and digits that are read as one another.
_LOOKALIKES: Final = str.maketrans("01L23456789VQJ", "OIIZEASGTBGUOI")
_FOLDED: Final = frozenset(word.translate(_LOOKALIKES) for word in LISTED)


def _alternatives(words: Iterable[str]) -> str:
    """Return a regular expression for the words that reads each letter once, since they share prefixes."""
    by_first: dict[str, set[str]] = {}
    for word in words:
        by_first.setdefault(word[:1], set()).add(word[1:])
    # A word that ends here is already found, however longer ones continue.
    if "" in by_first:
        return ""
    branches = [first + _alternatives(rests) for first, rests in sorted(by_first.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


_ANY: Final = re.compile(_alternatives(_FOLDED))
# A lookahead finds overlapping words; of those with the same start, the longest.
_EACH: Final = re.compile(f"(?=({'|'.join(sorted(_FOLDED, key=len, reverse=True))}))")


def obscene_places(text: str) -> list[int]:
    """Return where listed words begin in upper-case text; only the first of overlapping ones."""
    return [match.start() for match in _ANY.finditer(text.translate(_LOOKALIKES))]


def obscene_spans(text: str) -> list[tuple[int, int]]:
    """Return where each listed word is in upper-case text, the longest one from each start."""
    return [match.span(1) for match in _EACH.finditer(text.translate(_LOOKALIKES))]
