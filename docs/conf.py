"""Sphinx configuration: `make docs` builds the pages into docs/_build/html, and warnings are errors."""

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

from radrim.version import __version__

project = "radrim"
author = "The radrim developers"
copyright = "The radrim developers"  # noqa: A001 - the name that Sphinx reads
version = release = __version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_math_renderer = "mathml"  # browsers draw it by themselves, so that the pages need no network
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
    "header_links_before_dropdown": 8,  # all sections of index.md
    "navbar_align": "left",
    "icon_links": [],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_static_path = ["static"]
html_css_files = ["radrim.css"]
html_show_sourcelink = False


def _draw_inline(writer, node):
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def _draw_block(writer, node):
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    writer.body.append(tex2mathml(node.astext(), as_block=True) + "</div>")
    raise SkipNode


def setup(app):
    """Formulae become MathML when the pages are built."""
    app.add_html_math_renderer("mathml", (_draw_inline, None), (_draw_block, None))
