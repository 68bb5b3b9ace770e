"""`radrim batch`: many observations, resumed, retried and summed up."""
