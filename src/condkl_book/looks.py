"""One picture with two looks: as it was drawn, and on a dark ground where a link to it ends in `#dark`."""

import colorsys
import re

from matplotlib.colors import to_hex, to_rgb

from condkl_book.style import COLOURS, DARK

#: The ground of the site's dark theme, and what becomes of black.
GROUND, INK = "#121212", DARK["exact"]
#: What a link to the dark look ends in.
FRAGMENT = "dark"
_DARK = {COLOURS[name].lower(): colour.lower() for name, colour in DARK.items()}
_PAINT = re.compile(r'\b(fill|stroke|stop-color)(: |=")(#[0-9a-f]{6})\b')
_UNSEEN = re.compile(r"<\?xml.*?\?>|<!DOCTYPE[^>]*>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_PLACES = re.compile(r'(?<= )(d|x|y)="([^"]*)"')
_LONG = re.compile(r"-?\d+\.\d{2,}")
_LETTER = re.compile(r" ?([A-Za-z]) ?")


def dark(colour: str) -> str:
    """What becomes of a colour on the dark ground: methods have one of their own, others swap light and shade.

    Example:
        >>> dark("#ffffff"), dark("#0072b2")
        ('#121212', '#5e96ea')
    """
    if own := _DARK.get(colour.lower()):
        return own
    hue, light, strength = colorsys.rgb_to_hls(*to_rgb(colour))
    low, high = to_rgb(GROUND)[0], to_rgb(INK)[0]
    return str(to_hex(colorsys.hls_to_rgb(hue, high - light * (high - low), strength)))


def two_looks(svg: str) -> str:
    """An SVG of matplotlib's with both looks, and without what is not seen: notes, and decimals after the second.

    Its colours become variables, which are others where the picture is the target of its address. A ValueError if it
    has no `<svg`.
    """
    if "<svg " not in svg:
        raise ValueError(f"svg: expected the text of one, got {svg[:60]!r}.")
    names: dict[str, str] = {"#000000": "--c0"}  # what has no colour is black

    def named(found: re.Match[str]) -> str:
        paint, between, colour = found.groups()
        return f"{paint}{between}var({names.setdefault(colour, f'--c{len(names)}')})"

    drawn = re.sub(r"\s+", " ", _PAINT.sub(named, _UNSEEN.sub("", svg))).replace("> <", "><").strip()
    drawn = _PLACES.sub(lambda places: f'{places[1]}="{_shortened(places[2])}"', drawn)
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    shade = "".join(f"{name}:{dark(colour)};" for colour, name in names.items())
    style = f"<style>:root{{{light}fill:var(--c0)}}:root:target{{{shade}}}</style>"
    return re.sub("<svg ([^>]*)>", lambda root: f'<svg id="{FRAGMENT}" {root[1]}>{style}', drawn, count=1)


def _shortened(places: str) -> str:
    rounded = _LONG.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), places)
    return _LETTER.sub(r"\1", rounded)
