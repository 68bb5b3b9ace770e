"""Steps 3 to 7 of a run (measure, tile, deconvolve, restore, write): one class for each way to keep images."""
