"""Closure quantities, and images made from them alone (VLBI)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"quantities": ["closures_of"]})
