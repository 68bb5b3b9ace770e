"""Step 3, measure: dirty image, PSF and exact residuals of one output channel or one mosaic."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"measurement": ["Measurement"]})
