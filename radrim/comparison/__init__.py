"""`radrim compare`: radrim beside WSClean or its own CLEAN, and images beside the truth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"images": ["Comparison"]})
