"""Steps 3 to 7 put together: one class for each way of imaging."""
