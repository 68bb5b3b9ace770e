"""Sphinx configuration: `make docs` builds the pages into docs/_build/html, and warnings are errors."""

from radrim.version import __version__

project = "radrim"
author = "The radrim developers"
copyright = "The radrim developers"  # noqa: A001 - the name that Sphinx reads
version = release = __version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
nitpicky = False

# Pages are Markdown that GitHub shows as well; their links go to files and headings.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # they are kept with their output; tests/end_to_end/test_notebooks.py runs them
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say shapes and units, too
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"radrim {__version__}"
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
