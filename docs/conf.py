"""How Sphinx builds the site: ``make docs``."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions")]

import volflow  # noqa: E402 - it is found by the path above

project = "volflow"
author = "the authors of volflow"
version = release = volflow.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated"]
exclude_patterns = ["extensions"]
html_theme = "furo"
html_title = f"volflow {release}"
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False

# The pages are read in a repository's browser, too: a link to a heading is what that makes of it.
myst_heading_anchors = 3
myst_enable_extensions = ["fieldlist"]
suppress_warnings = ["myst.header"]  # a page that is made begins below the heading that holds it

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Nothing is fetched while this is built, so that other projects' names lead nowhere.
nitpick_ignore_regex = [
    ("py:.*", r"(?!volflow\.).*"),
    ("py:obj", r"volflow\..*\.T"),  # type variables
]
