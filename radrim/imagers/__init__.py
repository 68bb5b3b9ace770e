"""Steps 3 to 6 of a run (measure, deconvolve, restore, write): one class for each way to keep images."""
