"""Formats numbers with metric prefixes."""

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def si(value: float, unit: str, digits: int = 3) -> str:
    """A value with a suitable metric prefix: si(0.0123, 'Jy') is '12.3 mJy'."""
    value = float(f"{value:.{digits}g}")  # rounded first: 0.9999 must not become 1000 m
    factor, sign = prefix(value)
    return f"{value / factor:.{max(digits, 3)}g} {sign}{unit}"


def prefix(value: float) -> tuple[float, str]:
    """Factor and sign of the metric prefix for a value."""
    return next(((f, p) for f, p in PREFIXES if abs(value) >= f), PREFIXES[3] if not value else PREFIXES[-1])
