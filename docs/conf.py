"""Sphinx configuration."""

import gnnlib

project = "gnnlib"
author = "The gnnlib developers"
copyright = "2026, The gnnlib developers"  # noqa: A001  (Sphinx's name)
release = version = gnnlib.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
    "torch_geometric": ("https://pytorch-geometric.readthedocs.io/en/latest", None),
}
html_theme = "furo"
exclude_patterns = ["_build"]
