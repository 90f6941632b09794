"""Settings of the documentation site; see tools/build_docs.sh."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# the documentation is that of the checkout around it, even if another version is installed
sys.path[:0] = [str(HERE.parent), str(HERE)]

from vil_mm.version import __version__  # noqa: E402

project = 'vil_mm'
author = 'the vil_mm authors'
version = release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton', 'vil_mm_docs']
exclude_patterns = ['vil_mm_docs', '_pictures', '_static']
# a docstring that names something that is not there is a warning; other libraries, and names of types, stay text
nitpicky = True
nitpick_ignore_regex = [
    ('py:.*', r'(torch|mmengine|mmcv|mmdet|mmpretrain|collections|io)\..*'),
    ('py:class', 'Rules|Converted'),
]

myst_heading_anchors = 4

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # the docstrings say more
autodoc_default_options = {'members': True, 'show-inheritance': True}
napoleon_preprocess_types = False

html_theme = 'furo'
html_title = f'vil_mm {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
copybutton_exclude = '.linenos, .gp, .go'
copybutton_prompt_text = '>>> '
