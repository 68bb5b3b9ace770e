"""Step 2, weight: natural, uniform and Briggs imaging weights and tapers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"imaging": ["apply_weights"]})
