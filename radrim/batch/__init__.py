"""`radrim batch`: images many observations, resumes and retries them, and summarises the results."""
