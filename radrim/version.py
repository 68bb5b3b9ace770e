"""The version of radrim, and those of the packages that results depend on."""

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions of radrim and of the packages that its results depend on, by name."""
    import platform
    from importlib.metadata import version  # the packages need not be imported

    names = ("torch", "numpy", "astropy", "ducc0", "finufft")
    return {"radrim": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}
