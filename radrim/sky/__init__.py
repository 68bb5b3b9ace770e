"""Models of the sky, from catalogues or images, and their visibilities."""
