"""`radrim compare`: compares images of radrim with those of WSClean or of its own CLEAN, and with the truth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"images": ["Comparison"]})
