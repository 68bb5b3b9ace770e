"""Step 5, restore: restored images, spectral indices, polarisation and uncertainties, from models and residuals."""
