"""WSClean as the peer to compare with, and as the host of radrim's minor cycle."""
