"""The starter's pool: each parser on a small input of its form, pieces of an article's length, copies left out."""

import gzip
import hashlib
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

STARTER = Path(__file__).resolve().parents[2] / "examples" / "starter"
sys.path.insert(0, str(STARTER))

import books  # noqa: E402
import build_pool  # noqa: E402
import entries  # noqa: E402
import packages  # noqa: E402
import pages  # noqa: E402
import prose  # noqa: E402
import rdata  # noqa: E402
import sword  # noqa: E402
from copies import Passages, Seen  # noqa: E402
from parts import LONGEST, Part, pieces  # noqa: E402

from textmill.articles import imported_files  # noqa: E402
from textmill.settings.corpus import Corpus  # noqa: E402

SENTENCE = (
    "The miller opened the gate and the water ran along the old wooden channel to the great wheel below the house."
)
PAGE = f"""<html><head><title>12.1. Of wheels | The mill</title></head><body>
<div class="menu"><p>{SENTENCE.replace("miller", "menu")}</p></div>
<h2>12.1. Breast wheels<a class="headerlink" href="#x">¶</a></h2>
<p>{SENTENCE}</p><pre>gate.open()</pre>
<ul><li>{SENTENCE.replace("gate", "sluice")}<ul><li>Short label</li></ul></li></ul>
<table><tr><td><p>{SENTENCE.replace("water", "table")}</p></td></tr></table>
<p>Call <code>wheel_turn(3)</code>, <code>a[i] += 1</code>, {{x}} = {{y}}; <code>f()</code>.</p></body></html>"""


def test_a_page_gives_its_paragraphs_and_list_items_without_menus_tables_and_code() -> None:
    (part,) = pages.parts(PAGE.encode(), "page")

    assert part.title == "Of wheels: Breast wheels"
    assert part.paragraphs == [SENTENCE, SENTENCE.replace("gate", "sluice")]


def test_a_page_of_code_gives_nothing() -> None:
    code = "turn(wheel, speed=3)\n" * 20

    assert not list(pages.parts(f"<html><body><p>{SENTENCE}</p><pre>{code}</pre></body></html>".encode(), "page"))


def test_a_book_is_read_by_chapters_without_contents_verse_and_notices() -> None:
    text = (
        "Produced by a volunteer\n\nCONTENTS\n\nCHAPTER I\n\nThe miller rose early,\nand he went out.\n\n"
        "  O river, run,\n  O river, stay,\n  The work is done.\n\nCHAPTER II\n\n_Never_ again--said he.\n\nTHE END\n\nA licence.\n"
    )

    first, second = books.parts(text, "The Mill", r"^CHAPTER [IVX]+")

    assert (first.title, first.paragraphs) == ("The Mill: Chapter I", ["The miller rose early, and he went out."])
    assert prose.cleaned(second.paragraphs[0]) == "Never again—said he." and len(second.paragraphs) == 1


def test_a_dictionary_gives_its_entries_without_verse() -> None:
    text = "A preface.\n\nMILL, n.  A house in which\nwater works.\n\n    Turn, wheel, turn,\n    And never burn.\n\nMUD, n.  What is left."

    mill, mud = entries.devil(text)

    assert (mill.title, mill.paragraphs) == ("The Devil's Dictionary: Mill", ["MILL, n. A house in which water works."])
    assert mud.document == mill.document == "M"


def test_the_jargon_file_gives_sections_and_entries_after_its_contents() -> None:
    text = f"""   Contents
Chapter 1. Slang

   {SENTENCE}

Glossary

   :wheel: /weel/ n.

   {SENTENCE.replace("gate", "{{sluice}}").replace("{{", "{").replace("}}", "}")}

Bibliography

   {SENTENCE}
"""

    section, entry = entries.jargon(text, "Chapter 1. Slang", "Bibliography")

    assert section.paragraphs == [SENTENCE]
    assert (entry.title, entry.paragraphs) == ("wheel", ["wheel: " + SENTENCE.replace("gate", "sluice")])


def _module(folder: Path, verses: list[str], form: str) -> None:
    """A module of one block, as the SWORD project's own tools write them."""
    block = "".join(verses).encode()
    packed = zlib.compress(block)
    (folder / "ot.bzs").write_bytes(struct.pack("<III", 0, len(packed), len(block)))
    (folder / "ot.bzz").write_bytes(packed)
    place, index = 0, b""
    for verse in verses:
        index += struct.pack(form, 0, place, len(verse.encode()))
        place += len(verse.encode())
    (folder / "ot.bzv").write_bytes(index)


@pytest.mark.parametrize("form", ["<IIH", "<III"])
def test_a_sword_module_gives_its_chapters_without_notes_and_lines_of_verse(tmp_path: Path, form: str) -> None:
    verses = [
        '<milestone n="Mills" type="x-usfm-h"/>',
        '<chapter osisID="Mil.1" sID="Mil.1"/><div sID="g1" type="x-p"/>The <w lemma="H1">miller</w><note>Or, owner.</note> ',
        'opened the gate, and the water &amp; the wind came.<div eID="g1" type="x-p"/>',
        '<l sID="g2" level="1"/>Run, river, run through all the fields of corn.<l eID="g2" level="1"/>',
        f'<chapter osisID="Mil.2" sID="Mil.2"/><title>Of wheels</title>{SENTENCE}<chapter eID="Mil.2"/>',
        '<milestone n="Wheels" type="x-usfm-h"/>Of the book that is next, before its first chapter begins.',
        f'<chapter osisID="Whl.1" sID="Whl.1"/>{SENTENCE}',
    ]
    _module(tmp_path, verses, form)

    first, second, next_book = sword.parts(tmp_path, {})

    assert (first.title, first.paragraphs) == (
        "Mills 1",
        ["The miller opened the gate, and the water & the wind came."],
    )
    assert (second.title, second.paragraphs) == ("Mills 2", [SENTENCE])
    assert (next_book.title, next_book.paragraphs) == ("Wheels 1", [SENTENCE])


def _r_text(text: str) -> bytes:
    return struct.pack(">ii", 9, len(text)) + text.encode()


def _r_names(names: list[str]) -> bytes:
    """The attribute `names`, and the end of the attributes."""
    strings = struct.pack(">ii", 16, len(names)) + b"".join(map(_r_text, names))
    return struct.pack(">ii", 0x402, 1) + _r_text("names") + strings + struct.pack(">i", 254)


def test_texts_are_read_from_an_r_database(tmp_path: Path) -> None:
    head = b"X\n" + struct.pack(">iii", 2, 0x30600, 0x20300)
    value = head + struct.pack(">ii", 16, 2) + _r_text("CHAPTER 1") + _r_text("The miller rose.")
    packed = struct.pack(">I", len(value)) + zlib.compress(value)
    place = struct.pack(">iiii", 13, 2, 0, len(packed))
    variables = struct.pack(">ii", 0x213, 1) + place + _r_names(["mill"])
    index = head + struct.pack(">ii", 0x213, 1) + variables + _r_names(["variables"])
    (tmp_path / "Rdata.rdb").write_bytes(packed)
    (tmp_path / "Rdata.rdx").write_bytes(gzip.compress(index))

    assert rdata.texts(tmp_path / "Rdata") == {"mill": ["CHAPTER 1", "The miller rose."]}


def test_short_parts_are_joined_and_long_ones_cut_at_paragraphs() -> None:
    short = [Part("mill", f"Part {number}", [SENTENCE] * 10) for number in range(4)]
    long = Part("book", "Long", [SENTENCE] * 200)

    joined, *cut = pieces([*short, long, Part("note", "Short", [SENTENCE])])

    assert (
        joined.title == "Part 0" and joined.text == "\n\n".join([SENTENCE] * 20 + [SENTENCE] * 20)[: len(joined.text)]
    )
    assert len({len(each.text.split()) // 200 for each in cut[1:]}) <= 2
    assert all(300 < len(each.text.split()) < LONGEST * 1.2 and each.text.endswith(".") for each in cut[-3:])


def test_a_paragraph_longer_than_an_article_is_parted_between_sentences() -> None:
    found = list(pieces([Part("book", "Long", [" ".join([SENTENCE] * 200)])]))

    assert len(found) > 1 and all(each.text.endswith(".") for each in found)
    assert sum(each.text.count("miller") for each in found) == 200


def test_what_was_seen_before_is_a_copy() -> None:
    seen = Seen()
    text = " ".join(f"The wheel number {number} turns {number * 7} times an hour." for number in range(40))

    assert not seen.holds(text)
    assert seen.holds(text.replace("wheel number 3 ", "WHEEL, number three, "))
    assert not seen.holds(" ".join(f"A gate of {number} boards keeps {number * 3} buckets." for number in range(40)))


def test_a_passage_is_found_whatever_its_signs() -> None:
    passages = Passages([f"Before. {SENTENCE} After."], 12)

    assert passages.found_in(f"He wrote: {SENTENCE.replace(' and', ', AND')}")
    assert not passages.found_in("The miller opened the gate and the water stood still in the field.")


def test_a_share_is_filled_with_what_is_nearest_to_prose_in_its_order() -> None:
    found = [
        build_pool.Piece("a", "plain words here"),
        build_pool.Piece("b", "f(x) g(y) h(z)"),
        build_pool.Piece("c", "more words"),
    ]

    assert [each.title for each in build_pool.nearest(found, 30)] == ["a", "c"]
    assert build_pool.nearest(found, None) == found


@pytest.fixture
def deb(tmp_path: Path) -> Callable[[], dict[str, object]]:
    """Builds a package with a book in it."""

    def build() -> dict[str, object]:
        root = tmp_path / "root"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN" / "control").write_text(
            "Package: mill-book\nVersion: 1:2.0\nArchitecture: all\nMaintainer: A <a@mill.example>\nDescription: book\n"
        )
        (root / "usr").mkdir()
        lines = [f"Day {number}: {SENTENCE} It was day {number} of {number * 3}." for number in range(60)]
        (root / "usr" / "mill.txt").write_text("CHAPTER I\n\n" + "\n\n".join(lines))
        (tmp_path / "debs").mkdir()
        file = tmp_path / "debs" / "mill-book_1%3a2.0_all.deb"
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", str(root), str(file)], check=True, capture_output=True
        )
        entry = {"path": "usr/*.txt", "parser": "book", "title": "Mill", "chapter": "^CHAPTER"}
        return {
            "name": "mill-book",
            "version": "1:2.0",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "kind": "novels",
            "files": [entry],
        }

    return build


@pytest.mark.skipif(not Path("/usr/bin/dpkg-deb").exists(), reason="Debian's packages need dpkg-deb")
def test_a_pool_is_built_from_a_package_and_imported(deb: Callable[[], dict[str, object]], tmp_path: Path) -> None:
    package = deb()
    build_pool.build([package], tmp_path / "debs", tmp_path / "pool")

    found = list(imported_files.read(str(tmp_path / "pool"), "imported"))
    assert found and {each.source for each in found} == {"mill-book"} and "\n\n" in found[0].text
    assert json.loads((tmp_path / "pool" / "sizes.json").read_text())["mill-book"]["articles"] == len(found)
    told = _check(tmp_path, tmp_path / "root" / "usr" / "mill.txt")
    assert told.returncode == 1 and "pool:mill-book#1" in told.stdout
    (tmp_path / "other.md").write_text("Of other things, such as the price of flour in the spring. " * 4)
    assert _check(tmp_path, tmp_path / "other.md").returncode == 0

    with pytest.raises(ValueError, match="has the sha256"):
        packages.fetched(package | {"sha256": "0"}, tmp_path / "debs")


def _check(folder: Path, apart: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(STARTER / "check_pool.py"), "--pool", str(folder / "pool"), str(apart)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_package_is_listed_with_what_it_needs_and_in_the_notice() -> None:
    listed = yaml.safe_load((STARTER / "packages.yaml").read_text(encoding="utf-8"))["packages"]
    notice = (STARTER.parents[1] / "NOTICE").read_text(encoding="utf-8")

    Corpus(imported=[build_pool.source(package["name"]) for package in listed])
    for package in listed:
        assert len(package["sha256"]) == 64 and package["version"] and package["licence"]
        assert not any(word in package["licence"] for word in ("GPL", "GFDL", "-SA", "-NC"))
        assert f"{package['name']} " in notice
