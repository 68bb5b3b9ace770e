"""FITS: reads images of radrim and of other programs, and writes images and cubes (step 6)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"fits": ["image_header", "open_image", "read_image", "write_fits"]}
)
