"""The options of `radrim image`, group by group; `radrim.config.options.ImageConfig` has all of them."""
