"""Where a method was published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """A BibTeX entry, without its field braces.

    key: the BibTeX key. authors: as BibTeX writes them, joined by " and ". venue: conference or
    journal with its usual short name. arxiv: its number, or "".
    """

    key: str
    authors: str
    title: str
    venue: str
    year: int
    arxiv: str = ""

    def __str__(self) -> str:
        """Such as "Song et al. 2021, Denoising Diffusion Implicit Models, ICLR"."""
        return f"{self.short}, {self.title}, {self.venue}"

    @property
    def short(self) -> str:
        """Such as "Song et al. 2021"."""
        return f"{self._short_authors()} {self.year}"

    def bibtex(self) -> str:
        """The entry, of type `misc`, which fits conferences, journals and arXiv alike."""
        fields = {
            "author": self.authors,
            "title": f"{{{self.title}}}",
            "howpublished": self.venue,
            "year": str(self.year),
        }
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archiveprefix": "arXiv"}
        lines = [f"  {name} = {{{value}}},\n" for name, value in fields.items()]
        return f"@misc{{{self.key},\n{''.join(lines)}}}"

    def _short_authors(self) -> str:
        """Family names: one, two joined by "and", or the first "et al."."""
        families = [_family_name(author) for author in self.authors.split(" and ")]
        return " and ".join(families) if len(families) < 3 else f"{families[0]} et al."


def _family_name(author: str) -> str:
    """BibTeX writes an author as "Family, Given" or "Given Family"."""
    return author.split(",")[0] if "," in author else author.split()[-1]
