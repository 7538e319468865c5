"""Documented examples run, and the README's files exist."""

import doctest
import re

import pytest

import codec.coder
from tests.conftest import ROOT


def test_docstrings():
    assert doctest.testmod(codec.coder, extraglobs={"Image": __import__("PIL.Image").Image}).failed == 0


def test_readme_example(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.failed == 0 and result.attempted >= 7


@pytest.mark.parametrize(("page", "least"), [("codec/latent/LATENTS.md", 8), ("codec/edit/EDIT.md", 4)])
def test_examples_of_pages(monkeypatch, page, least):
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / page), module_relative=False)
    assert result.failed == 0 and result.attempted >= least


def test_readme_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
