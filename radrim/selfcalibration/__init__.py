"""`radrim selfcal`: calibration of the antennas with the image itself."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"loop": ["selfcal"]})
