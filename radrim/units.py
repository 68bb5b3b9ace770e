"""Formats numbers with metric prefixes."""

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def si(value: float, unit: str, digits: int = 3) -> str:
    """A value with a suitable metric prefix: si(0.0123, 'Jy') is '12.3 mJy'."""
    value = float(f"{value:.{digits}g}")  # rounded first: 0.9999 must not become 1000 m
    factor, sign = prefix(value)
    return f"{value / factor:.{max(digits, 3)}g} {sign}{unit}"


def band(low: float, high: float) -> str:
    """A range of frequencies [Hz], in MHz below 10 GHz: band(1e9, 2e9) is '1000 to 2000 MHz'; one of equal ends."""
    factor, sign = (1e9, "G") if high >= 1e10 else (1e6, "M")
    first, last = (f"{value / factor:.6g}" for value in (low, high))
    return f"{first} {sign}Hz" if first == last else f"{first} to {last} {sign}Hz"


def duration(seconds: float) -> str:
    """A length of time in s, min or h, whichever is readable; 'one integration' for 0."""
    if seconds <= 0:
        return "one integration"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def prefix(value: float) -> tuple[float, str]:
    """Factor and sign of the metric prefix for a value."""
    return next(((f, p) for f, p in PREFIXES if abs(value) >= f), PREFIXES[3] if not value else PREFIXES[-1])
