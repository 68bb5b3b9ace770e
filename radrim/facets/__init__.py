"""Images larger than the memory, as tasks over files."""
