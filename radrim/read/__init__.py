"""Step 1, read: from files to an `Observation`, blocks of `Visibilities` of one Stokes parameter."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"reader": ["Selection", "read"]})
