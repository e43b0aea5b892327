"""When two printed outputs are the same: text and whole numbers exactly, decimals nearly.

Training repeats to the bit on one machine with one thread; on another processor the order of
additions differs, and after 500 to 2,000 steps of a convolutional VAE the bound has moved by up to
7e-4 of its value. So a decimal may differ from the stored one by 1e-3 of it, or by one unit in its
last printed place, where rounding tips. Residuals below 1e-6 are rounding noise and count as equal.
"""

import re

RELATIVE, ABSOLUTE = 1e-3, 1e-6
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\d)")


def close(stored: str, fresh: str) -> bool:
    """Tell whether two printed numbers are the same result."""
    if is_whole(stored) and is_whole(fresh):
        return stored == fresh
    first, second = (float(text.replace("−", "-")) for text in (stored, fresh))
    place = 1.001 * min(last_place(stored), last_place(fresh))
    return abs(first - second) <= max(RELATIVE * abs(first), ABSOLUTE, place)


def is_whole(number: str) -> bool:
    """Tell whether a number is printed as an integer."""
    return not re.search(r"[.eE]", number)


def last_place(number: str) -> float:
    """Return what one unit in the last printed place is worth: 0.01 for 12.34."""
    digits, _, exponent = number.lower().partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


class Printed(str):
    """Text that equals other text when its words are the same and its decimals are close."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        if NUMBER.sub("#", self) != NUMBER.sub("#", other):
            return False
        pairs = zip(NUMBER.findall(self), NUMBER.findall(other), strict=True)
        return all(close(stored, fresh) for stored, fresh in pairs)

    def __ne__(self, other: object) -> bool:
        return not self == other
