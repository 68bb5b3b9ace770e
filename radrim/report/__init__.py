"""The report of a run: page, figures, quality checks."""
