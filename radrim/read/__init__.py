"""Step 1, read: from files to an `Observation` with blocks of `Visibilities`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"reader": ["read"], "selection": ["Selection"]}
)
