"""The options of `radrim image`: their parsers, the rules between them, and TOML files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"options": ["ImageConfig"]})
