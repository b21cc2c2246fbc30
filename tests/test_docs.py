"""The pages' examples run as they stand."""

import re
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["layers"])
def test_python_examples(page):
    text = (DOCS / f"{page}.rst").read_text()
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", text, re.MULTILINE)
    assert blocks
    code = "\n".join(map(textwrap.dedent, blocks))
    exec(compile(code, f"{page}.rst", "exec"), {"__name__": page})
