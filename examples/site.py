"""The Millpond: a small static blog, rendered from Markdown and served on loopback, to try Textmill on.

    python examples/site.py --port 8080

It has what a crawler meets elsewhere: listing pages with paging, archives by section, a feed, a sitemap, a robots.txt
that forbids /private/, one article under two addresses, a cookie notice and navigation on every page. Only the
standard library is used. Rendering is deterministic and leaves a file alone whose content has not changed, so that
`Last-Modified` tells the truth.
"""

import argparse
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from functools import partial
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from types import FrameType

SITE = Path(__file__).resolve().parent / "site"
NAME = "The Millpond"
PER_PAGE = 10  # articles on one listing page
RECENT = 5  # articles in the sidebar
TEASER_WORDS = 35  # words of an article that a listing shows
PICKED = "how-an-overshot-wheel-works"  # the article that also stands under /selected/


@dataclass(frozen=True, slots=True)
class Post:
    """One article of the site, or one of its fixed pages (which have neither date nor author)."""

    slug: str
    title: str
    blocks: tuple[str, ...]  # paragraphs; a heading starts with '## '
    author: str = ""
    section: str = ""
    published: date = date.min

    @property
    def path(self) -> str:
        return f"/articles/{self.slug}.html"

    @property
    def paragraphs(self) -> tuple[str, ...]:
        return tuple(block for block in self.blocks if not block.startswith("## "))

    @property
    def teaser(self) -> str:
        words = self.paragraphs[0].split()
        return " ".join(words[:TEASER_WORDS]) + (" …" if len(words) > TEASER_WORDS else "")


def read_post(file: Path) -> Post:
    """One Markdown file: front matter between two lines of '---', then paragraphs and '## ' headings."""
    _, front, body = file.read_text(encoding="utf-8").split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.strip().splitlines())
    return Post(
        slug=re.sub(r"^[a-z]-\d+-", "", file.stem),
        title=fields["title"].strip().strip('"'),
        blocks=tuple(" ".join(block.split()) for block in re.split(r"\n\s*\n", body) if block.strip()),
        author=fields.get("author", ""),
        section=fields.get("section", ""),
        published=date.fromisoformat(fields["date"]) if "date" in fields else date.min,
    )


def read_posts() -> list[Post]:
    """Every article of the site, the newest first."""
    posts = [read_post(file) for file in sorted((SITE / "articles").glob("*.md"))]
    return sorted(posts, key=lambda post: (post.published, post.slug), reverse=True)


def multiply(posts: Sequence[Post], wanted: int) -> list[Post]:
    """As many articles as wanted: beyond those written, each mixes the paragraphs of two, under a number of its own."""
    many = list(posts[:wanted])
    for number in range(len(posts), wanted):
        turn, place = divmod(number, len(posts))
        one, other = posts[place], posts[(place + turn) % len(posts)]
        mixed = [block for pair in zip(one.paragraphs, other.paragraphs, strict=False) for block in pair]
        many.append(
            Post(
                slug=f"{one.slug}-{number}",
                title=f"{one.title} ({number})",
                blocks=(f"This is note number {number} in our book.", *mixed),
                author=one.author,
                section=one.section,
                published=one.published,
            )
        )
    return many


def render(folder: Path, base_url: str, pages: int | None = None) -> int:
    """Write the site into `folder` and return how many articles it has.

    Args:
        folder: made if absent; files in it that the site does not have are left alone.
        base_url: the address under which it will be served, for canonical links, the feed and the sitemap.
        pages: how many articles it shall have; more than are written are numbered variants. None: those written.
    """
    base = base_url.rstrip("/")
    posts = read_posts() if pages is None else multiply(read_posts(), pages)
    for path, text in _files(posts, base):
        _write(folder / path, text)
    return len(posts)


def _write(file: Path, text: str) -> None:
    content = text.encode()
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)


def _files(posts: Sequence[Post], base: str) -> Iterator[tuple[str, str]]:
    """Every file of the site: its path and its text."""
    fixed = [read_post(file) for file in sorted((SITE / "pages").glob("*.md"))]
    private = [read_post(file) for file in sorted((SITE / "private").glob("*.md"))]
    layout = _Layout(posts, private, base)
    listings = list(_listings(posts))
    for path, title, shown, newer, older in listings:
        yield _file_of(path), layout.listing(path, title, shown, newer, older)
    for post in posts:
        yield _file_of(post.path), layout.article(post)
        if post.slug == PICKED:
            yield f"selected/{post.slug}.html", layout.article(post)
    for page in fixed:
        yield f"{page.slug}.html", layout.page(f"/{page.slug}.html", page)
    for page in private:
        yield f"private/{page.slug}.html", layout.page(f"/private/{page.slug}.html", page)
    yield "feed.xml", _feed(posts, base)
    yield "sitemap.xml", _sitemap([*(path for path, *_ in listings), *(post.path for post in posts)], base)
    yield "robots.txt", f"User-agent: *\nDisallow: /private/\n\nSitemap: {base}/sitemap.xml\n"
    yield "style.css", (SITE / "style.css").read_text(encoding="utf-8")


def _file_of(path: str) -> str:
    return path.lstrip("/") + ("index.html" if path.endswith("/") else "")


def _listings(posts: Sequence[Post]) -> Iterator[tuple[str, str, Sequence[Post], str, str]]:
    """Each listing page: path, title, its articles, and the paths of the newer and the older page ('' at the ends)."""
    archives = [("/", NAME, list(posts))]
    for section in sorted({post.section for post in posts}):
        archives.append(
            (f"/sections/{section}/", section.capitalize(), [post for post in posts if post.section == section])
        )
    for first, title, entries in archives:
        count = -(-len(entries) // PER_PAGE)
        paths = [first, *(f"{first}page/{number}.html" for number in range(2, count + 1))]
        for index, path in enumerate(paths):
            newer, older = paths[index - 1] if index else "", paths[index + 1] if index + 1 < count else ""
            yield path, title, entries[index * PER_PAGE : (index + 1) * PER_PAGE], newer, older


class _Layout:
    """The frame that every page shares."""

    def __init__(self, posts: Sequence[Post], private: Sequence[Post], base: str) -> None:
        self._template = Template((SITE / "layout.html").read_text(encoding="utf-8"))
        self._picked = next((post for post in posts if post.slug == PICKED), None)
        sections = sorted({post.section for post in posts})
        self._base = base
        self._shared = {
            "base": base,
            "sections": "\n".join(_item(f"/sections/{section}/", section.capitalize()) for section in sections),
            "recent": "\n".join(_item(post.path, post.title) for post in posts[:RECENT]),
            "private": "\n".join(_item(f"/private/{page.slug}.html", page.title) for page in private),
        }

    def _page(self, path: str, title: str, description: str, main: str, meta: str) -> str:
        return self._template.substitute(
            self._shared,
            head_title=escape(title if title == NAME else f"{title} · {NAME}"),
            description=escape(description),
            canonical=self._base + path,
            main=main,
            meta=meta,
        )

    def listing(self, path: str, title: str, posts: Sequence[Post], newer: str, older: str) -> str:
        parts = [f"<h1>{escape('Latest articles' if title == NAME else title)}</h1>"]
        if path == "/" and self._picked:
            link = f'<a href="/selected/{self._picked.slug}.html">{escape(self._picked.title)}</a>'
            parts.append(f"<p>New here? Begin with {link}, and see where the water takes you.</p>")
        parts += [_teaser(post) for post in posts]
        newer_link = f'<a rel="prev" href="{newer}">Newer articles</a>' if newer else "<span></span>"
        older_link = f'<a rel="next" href="{older}">Older articles</a>' if older else "<span></span>"
        parts.append(f'<nav class="pager" aria-label="Pages">{newer_link}{older_link}</nav>')
        meta = '<meta property="og:type" content="website">'
        return self._page(path, title, f"{title}: notes from a working mill", "\n".join(parts), meta)

    def article(self, post: Post) -> str:
        day = post.published.isoformat()
        main = "\n".join(
            [
                "<article>",
                f"<header><h1>{escape(post.title)}</h1>",
                f'<p class="byline">By <span class="author">{escape(post.author)}</span>, '
                f'<time datetime="{day}">{_long_date(post.published)}</time></p></header>',
                *_blocks(post),
                "</article>",
            ]
        )
        meta = "\n".join(
            [
                f'<meta name="author" content="{escape(post.author)}">',
                '<meta property="og:type" content="article">',
                f'<meta property="og:title" content="{escape(post.title)}">',
                f'<meta property="article:published_time" content="{day}">',
                f'<meta property="article:section" content="{escape(post.section)}">',
            ]
        )
        return self._page(post.path, post.title, post.teaser, main, meta)

    def page(self, path: str, page: Post) -> str:
        main = "\n".join([f"<h1>{escape(page.title)}</h1>", *_blocks(page)])
        return self._page(path, page.title, page.teaser, main, '<meta property="og:type" content="website">')


def _item(path: str, text: str) -> str:
    return f'<li><a href="{path}">{escape(text)}</a></li>'


def _teaser(post: Post) -> str:
    return (
        f'<section class="teaser"><h2><a href="{post.path}">{escape(post.title)}</a></h2>'
        f'<time datetime="{post.published.isoformat()}">{_long_date(post.published)}</time>'
        f"<p>{escape(post.teaser)}</p></section>"
    )


def _blocks(post: Post) -> Iterator[str]:
    for block in post.blocks:
        yield f"<h2>{escape(block[3:])}</h2>" if block.startswith("## ") else f"<p>{escape(block)}</p>"


def _long_date(day: date) -> str:
    months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    return f"{day.day} {months[day.month - 1]} {day.year}"  # strftime would follow the locale


def _feed(posts: Sequence[Post], base: str) -> str:
    items = "\n".join(
        f"<item><title>{escape(post.title)}</title><link>{base}{post.path}</link>"
        f'<guid isPermaLink="true">{base}{post.path}</guid>'
        f"<pubDate>{format_datetime(datetime.combine(post.published, time(), UTC))}</pubDate>"
        f"<description>{escape(post.teaser)}</description></item>"
        for post in posts
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel>'
        f"<title>{NAME}</title><link>{base}/</link><description>Notes from a working mill</description>"
        f"<language>en</language>\n{items}\n</channel></rss>\n"
    )


def _sitemap(paths: Sequence[str], base: str) -> str:
    urls = "\n".join(f"<url><loc>{escape(base + path)}</loc></url>" for path in paths)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}\n</urlset>\n'
    )


class _Handler(SimpleHTTPRequestHandler):
    """Static files over kept connections, without a line of log for each."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # headers and body are two writes: the second would wait 40 ms for the first's receipt
    )

    def log_message(self, format: str, *args: object) -> None:
        return


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of `folder` on 127.0.0.1, bound but not yet serving; port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder)))


def _serve(folder: Path, port: int, pages: int | None) -> int:
    try:
        http = server(folder, port)
    except OSError as error:
        print(
            f"Port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another with --port.", file=sys.stderr
        )
        return 2
    with http:
        address = f"http://127.0.0.1:{http.server_port}"
        articles = render(folder, address, pages)
        print(f"{NAME}, {articles} articles, is at {address}/", flush=True)
        try:
            http.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Render the site and serve it until it is interrupted or terminated."""
    parser = argparse.ArgumentParser(description="Render The Millpond and serve it on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 takes a free one (default: 8080)")
    parser.add_argument("--folder", type=Path, help="where to render; a temporary folder unless given")
    parser.add_argument("--pages", type=int, help="number of articles; more than are written are numbered variants")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        return _serve(options.folder, options.port, options.pages)
    with tempfile.TemporaryDirectory(prefix="millpond-") as folder:
        return _serve(Path(folder), options.port, options.pages)


if __name__ == "__main__":
    sys.exit(main())
