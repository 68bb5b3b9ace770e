"""CLEAN masks from images: noise that varies over the image, islands of emission, and the command `radrim mask`."""
