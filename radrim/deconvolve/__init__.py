"""Steps 4 to 6, deconvolve: tiles, major cycles around a minor cycle per tile, CLEAN."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"major": ["deconvolve"]})
