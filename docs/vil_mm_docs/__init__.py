"""What the site takes from the repository: its Markdown pages, its configs, the options of its tools, pictures."""

from pathlib import Path

from sphinx.application import Sphinx

from . import links, pictures, references, tables


def setup(app: Sphinx) -> dict:
    """Connect the parts to Sphinx."""
    app.connect('builder-inited', lambda app: pictures.draw(Path(app.srcdir) / '_pictures'))
    app.connect('source-read', tables.insert)
    app.connect('source-read', links.adapt_page)
    app.connect('include-read', links.adapt_included)
    app.connect('missing-reference', references.resolve)
    return dict(parallel_read_safe=True)
