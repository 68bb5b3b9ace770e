"""Images larger than the memory: facets in files, and tasks that work on them."""
