"""A tolerance for `pytest --nbval`: text and whole numbers exactly, decimals nearly."""

from nbval import plugin

from tolerance import Printed

_sanitize = plugin.IPyNbCell.sanitize


def tolerant_sanitize(cell: plugin.IPyNbCell, text: object) -> object:
    """Return text in the form in which nbval compares it, as `Printed`."""
    text = _sanitize(cell, text)
    return Printed(text) if isinstance(text, str) else text


plugin.IPyNbCell.sanitize = tolerant_sanitize
