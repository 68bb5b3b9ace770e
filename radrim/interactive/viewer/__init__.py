"""A page to explore the images of a run: `write_viewer` for `radrim view` and `Result.view`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"page": ["write_viewer"]})
