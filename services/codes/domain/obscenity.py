"""Which strings read as an obscenity: a listed set of words, found also where digits stand for letters."""

import re
from collections.abc import Iterable
from typing import Final

# Words, not meanings: short ones that are harmless inside others are left out, for a code is no sentence.
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
    """Return a regular expression for the words that looks at each letter once: beginnings are shared."""
    by_first: dict[str, set[str]] = {}
    for word in words:
        by_first.setdefault(word[:1], set()).add(word[1:])
    # A word that ends here is found already, whatever the longer ones go on with.
    if "" in by_first:
        return ""
    branches = [first + _alternatives(rests) for first, rests in sorted(by_first.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


_ANY: Final = re.compile(_alternatives(_FOLDED))
# A look ahead finds words that overlap; of those that begin at one place, the longest.
_EACH: Final = re.compile(f"(?=({'|'.join(sorted(_FOLDED, key=len, reverse=True))}))")


def obscene_places(text: str) -> list[int]:
    """Return where listed words begin in upper-case text; of those that overlap only the first."""
    return [match.start() for match in _ANY.finditer(text.translate(_LOOKALIKES))]


def obscene_spans(text: str) -> list[tuple[int, int]]:
    """Return where each listed word stands in upper-case text, the longest from each place."""
    return [match.span(1) for match in _EACH.finditer(text.translate(_LOOKALIKES))]
