"""Options of WSClean and parameters of CASA's tclean, each with what it is called in radrim, or why it is not there.

`radrim image` accepts WSClean's options by this table, `radrim translate` converts whole commands, and the pages
docs/from_wsclean.md and docs/from_casa.md show it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "casa": ["translate_tclean"],
        "row": ["Kind", "Row"],
        "wsclean": ["translate_wsclean", "to_radrim_words"],
    },
)
