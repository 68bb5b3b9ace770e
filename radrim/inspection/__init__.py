"""`radrim info`: describes an observation, and suggests how to image it."""
