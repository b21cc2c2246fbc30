"""The pages' examples run as they stand, and their errors say what the pages say."""

import doctest
import re
import textwrap
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["layers"])
def test_python_examples(page):
    text = (DOCS / f"{page}.rst").read_text()
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", text, re.MULTILINE)
    assert blocks
    code = "\n".join(map(textwrap.dedent, blocks))
    exec(compile(code, f"{page}.rst", "exec"), {"__name__": page})


@pytest.mark.parametrize("page", ["swap"])
def test_prompts(page):
    with torch.random.fork_rng(devices=[]):
        failed, tried = doctest.testfile(str(DOCS / f"{page}.rst"), module_relative=False)
    assert tried > 0
    assert failed == 0
