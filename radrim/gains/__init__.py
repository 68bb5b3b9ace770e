"""Solves for antenna gains, reads and writes them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"stefcal": ["solve"]})
