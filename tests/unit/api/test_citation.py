"""Citations on one line and in BibTeX."""

import pytest

from sde_edit.api.citation import Citation

DDIM = Citation(
    key="song2021ddim",
    authors="Song, Jiaming and Meng, Chenlin and Ermon, Stefano",
    title="Denoising Diffusion Implicit Models",
    venue="ICLR",
    year=2021,
    arxiv="2010.02502",
)


def test_one_line():
    assert str(DDIM) == "Song et al. 2021, Denoising Diffusion Implicit Models, ICLR"


@pytest.mark.parametrize(
    ("authors", "short"),
    [
        ("Ada Lovelace", "Lovelace"),
        ("Lovelace, Ada", "Lovelace"),
        ("Lovelace, Ada and Charles Babbage", "Lovelace and Babbage"),
        ("van den Berg, Rianne and Lovelace, Ada and Hopper, Grace", "van den Berg et al."),
    ],
)
def test_names_of_authors(authors, short):
    assert str(Citation("key", authors, "Title", "Venue", 2020)).startswith(f"{short} 2020, ")


def test_bibtex():
    assert DDIM.bibtex() == (
        "@misc{song2021ddim,\n"
        "  author = {Song, Jiaming and Meng, Chenlin and Ermon, Stefano},\n"
        "  title = {{Denoising Diffusion Implicit Models}},\n"
        "  howpublished = {ICLR},\n"
        "  year = {2021},\n"
        "  eprint = {2010.02502},\n"
        "  archiveprefix = {arXiv},\n"
        "}"
    )


def test_bibtex_of_a_paper_that_is_not_on_arxiv():
    assert "eprint" not in Citation("key", "Lovelace, Ada", "Title", "Venue", 2020).bibtex()
