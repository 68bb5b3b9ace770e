"""`radrim info`: what is in an observation, and how to image it."""
