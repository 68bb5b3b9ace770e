"""What Python and notebooks show of a run: `Result` with pictures, tables, cutouts and cubes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"result": ["Result"]})
