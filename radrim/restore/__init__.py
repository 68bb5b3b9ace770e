"""Step 7, restore: makes restored images, spectral indices, polarisation maps and uncertainties from models and residuals."""
