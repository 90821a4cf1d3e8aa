"""Pages for the scraper's tests, in the manner of sites that we did not write."""

_SENTENCES = (
    "On day {n} the miller opened the sluice before the sun had reached the yard.",
    "The wheel took the water slowly, and {n} sacks stood ready under the hoist.",
    "Nobody spoke while the stones came up to speed, for the sound tells more than any gauge.",
    "By noon the meal ran warm and even, and the bolter shook {n} pounds of fine flour into the bin.",
)


def paragraphs(number: int, first: int = 1) -> list[str]:
    """That many paragraphs of about sixty words, all of them different."""
    return [" ".join(_SENTENCES).format(n=first + each) for each in range(number)]


def prose(number: int = 3, first: int = 1) -> str:
    """HTML of that many paragraphs."""
    return "".join(f"<p>{text}</p>\n" for text in paragraphs(number, first))


def document(body: str, head: str = "", title: str = "A day at the mill") -> str:
    """A whole page around a body, with a navigation and a footer as most sites have them."""
    return (
        f'<!DOCTYPE html><html lang="en-GB"><head><meta charset="utf-8"><title>{title}</title>{head}</head><body>'
        '<nav><ul><li><a href="/">Home</a></li><li><a href="/prices.html">What our flour costs</a></li></ul></nav>'
        f"{body}<footer><p>All of it written at the mill.</p></footer></body></html>"
    )
