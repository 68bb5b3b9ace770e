"""Step 4, deconvolve: tiles of an image, the loop of major cycles, the interface of minor cycles, and CLEAN."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"major": ["deconvolve"]})
