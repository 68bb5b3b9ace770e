"""WSClean, as the program to compare with, and as the host of radrim's minor cycle."""
