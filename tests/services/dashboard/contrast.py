"""Computes the contrast of the tokens' colours in both themes, and how far the plots' stay apart for colour-blind eyes.

Contrast is WCAG 2.2's relative luminance; colour blindness is simulated by the matrices of Machado, Oliveira and
Fernandes (2009) at full strength; distance is CIEDE2000.
"""

import itertools
import math
import re
from collections.abc import Sequence

TEXT, LARGE_OR_SHAPE, APART = 4.5, 3.0, 10.0
Colour = Sequence[float]
SURFACES = ("canvas", "surface", "raised", "sunken", "hover")
PAIRS = [
    *(("text", s, TEXT) for s in SURFACES),
    *(("text-2", s, TEXT) for s in SURFACES),
    *(("text-3", s, TEXT) for s in SURFACES),
    *(("accent", s, TEXT) for s in (*SURFACES, "accent-soft")),
    *(("warn", s, TEXT) for s in ("canvas", "surface", "raised", "warn-soft")),
    *(("danger", s, TEXT) for s in ("canvas", "surface", "raised", "danger-soft")),
    *(("text-2", s, TEXT) for s in ("accent-soft", "warn-soft", "danger-soft")),
    ("on-accent", "accent", TEXT),
    ("on-accent", "accent-press", TEXT),
    *(("control", s, LARGE_OR_SHAPE) for s in ("canvas", "surface", "raised")),
    *((f"plot-{n}", "surface", LARGE_OR_SHAPE) for n in (1, 2, 3, 4, 5, "off")),
    ("plot-1", "plot-soft", LARGE_OR_SHAPE),
    ("warn-line", "surface", LARGE_OR_SHAPE),
    ("danger-line", "surface", LARGE_OR_SHAPE),
]
BLIND = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def tokens(text: str) -> dict[str, tuple[str, str]]:
    """Return names to (light, dark)."""
    found = re.findall(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)", text)
    return {name: (light, dark) for name, light, dark in found}


def linear(colour: str) -> list[float]:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


def contrast(a: str, b: str) -> float:
    light, dark = sorted(
        (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(x), strict=True)) for x in (a, b)), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: Colour) -> tuple[float, float, float]:
    matrix = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    white_point = (0.95047, 1, 1.08883)
    xyz = (
        sum(w * c for w, c in zip(row, rgb, strict=True)) / white
        for row, white in zip(matrix, white_point, strict=True)
    )
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: Colour, two: Colour) -> float:
    """Return CIEDE2000 of two linear RGB colours."""
    (l1, a1, b1), (l2, a2, b2) = lab(one), lab(two)
    mean = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(mean**7 / (mean**7 + 25**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    dh = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0
    big = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(dh) / 2)
    hm, cm, lm = (h1 + dh / 2) % 360 if c1 * c2 else h1 + h2, (c1 + c2) / 2, (l1 + l2) / 2
    t = 1 - 0.17 * math.cos(math.radians(hm - 30)) + 0.24 * math.cos(math.radians(2 * hm))
    t += 0.32 * math.cos(math.radians(3 * hm + 6)) - 0.20 * math.cos(math.radians(4 * hm - 63))
    sl, sc, sh = 1 + 0.015 * (lm - 50) ** 2 / math.sqrt(20 + (lm - 50) ** 2), 1 + 0.045 * cm, 1 + 0.015 * cm * t
    turn = -2 * math.sqrt(cm**7 / (cm**7 + 25**7)) * math.sin(math.radians(60 * math.exp(-(((hm - 275) / 25) ** 2))))
    dl, dc, dh = (l2 - l1) / sl, (c2 - c1) / sc, big / sh
    return math.sqrt(dl**2 + dc**2 + dh**2 + turn * dc * dh)


def seen(colour: str, kind: str) -> Colour:
    rgb = linear(colour)
    return (
        rgb
        if kind == "usual"
        else [min(1, max(0, sum(w * c for w, c in zip(row, rgb, strict=True)))) for row in BLIND[kind]]
    )


def faults(text: str) -> list[str]:
    """Return the pairs of a style sheet's tokens that are below their limits."""
    colours, found = tokens(text), []
    for theme, name in enumerate(("light", "dark")):
        for front, back, limit in PAIRS:
            if (ratio := contrast(colours[front][theme], colours[back][theme])) < limit:
                found.append(f"{front} on {back}, {name}: {ratio:.2f}")
        for kind in ("usual", *BLIND):
            plots = {number: seen(colours[f"plot-{number}"][theme], kind) for number in range(1, 6)}
            for one, two in itertools.combinations(plots, 2):
                if distance(plots[one], plots[two]) < APART:
                    found.append(f"plot-{one} and plot-{two}, {name}, {kind}")
    return found
