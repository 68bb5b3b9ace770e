"""Step 7, restore: from models and residuals to restored images, spectra, polarisation and uncertainties."""
