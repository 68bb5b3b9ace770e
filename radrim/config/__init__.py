"""What a user can say: the options of `radrim image`, their parsers and rules, TOML files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"options": ["ImageConfig"]})
