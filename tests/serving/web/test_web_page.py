"""The web page in a real browser: what a reader clicks, types and sees."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from browser import Page, chromium, opened
from engine_router import EngineRouter, config

from serving.app import create_app
from serving.feedback.outbox import Undelivered
from textmill.settings.serving import Serve

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine (apt-get install chromium)")
ENDLESS = 10_000_000  # tokens, which no machine writes before somebody stops it
READY = "document.querySelector('#write')?.disabled === false"
IDLE = "document.querySelector('#write').textContent === 'Write'"
DONE = f"{IDLE} && [...document.querySelectorAll('article:not([hidden]) footer')].every(each => !each.hidden)"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page-data")


@pytest.fixture(scope="module")
def router(model: Path, other_model: Path) -> Iterator[EngineRouter]:
    """Two versions that write without end where they are let."""
    router = EngineRouter({7: model, 8: other_model}, max_tokens=ENDLESS)
    yield router
    router.close()


@pytest.fixture(scope="module")
def url(router: EngineRouter, data: Path) -> Iterator[str]:
    """A server of both."""
    server = uvicorn.Server(uvicorn.Config(create_app(router, config(data)), log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # whoever comes before the server is there waits for it
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def page(browser: Page, url: str) -> Page:
    """The page, freshly loaded, on a desk's screen."""
    browser.look(1280, 900)
    browser.open(url)
    browser.wait(READY)
    # texts of forty tokens, not of ten million
    browser.run("document.querySelector('#length').max = 400; document.querySelector('#length').value = 40; 0")
    return browser


def write(page: Page, topic: str = "abc") -> None:
    page.click("#topic")
    page.run("document.querySelector('#topic').select()")
    page.type(topic)
    page.press("Enter", 13)
    page.wait(DONE)


def test_a_topic_typed_becomes_an_article_that_says_where_it_comes_from(page: Page) -> None:
    write(page, "abc de")
    assert page.text("article h1") == "abc de"
    assert page.text("article .text")
    assert "tiny · version 7 · Production · seed" in page.text("article .facts")
    page.click("article .origin summary")
    page.wait("document.querySelector('article dl').children.length > 5")
    assert "snapshot 3" in page.text("article dl")
    assert page.problems == []


def test_a_seed_kept_writes_the_same_text_again(page: Page) -> None:
    write(page)
    first = page.text("article .text")
    page.click("article .keep")
    write(page)
    assert page.text("article .text") == first
    page.click("article .again")
    page.wait(f"{DONE} && document.querySelector('article .text').innerText !== {json.dumps(first)}")


@pytest.mark.parametrize("how", ["button", "escape"])
def test_writing_can_be_stopped(page: Page, how: str) -> None:
    page.run(f"const l = document.querySelector('#length'); l.max = {ENDLESS}; l.value = {ENDLESS}; 0")
    page.run("document.querySelector('#temperature').value = 0; 0")
    page.click("#topic")
    page.type("abc")
    page.click("#write")
    page.wait("document.querySelector('#write').textContent === 'Stop'")
    page.wait("document.querySelector('article .text').innerText.length > 20")
    if how == "button":
        page.click("#write")
    else:
        page.press("Escape", 27)
    page.wait(IDLE)
    assert page.text("article .facts") == "Stopped."
    assert len(page.text("article .text")) > 20


def test_two_versions_write_side_by_side(page: Page) -> None:
    page.click("#compare")
    write(page)
    versions = page.run("[...document.querySelectorAll('article .version')].map(each => each.innerText)")
    assert versions == ["tiny · version 7 · Production", "tiny · version 8 · Staging"]
    left, right = page.run("[...document.querySelectorAll('article')].map(each => each.getBoundingClientRect().x)")
    assert right > left + 300
    page.look(390, 844, phone=True)
    left, right = page.run("[...document.querySelectorAll('article')].map(each => each.getBoundingClientRect().x)")
    assert left == right  # one below the other
    assert page.run("document.documentElement.scrollWidth <= 390")


def test_thumbs_are_kept(page: Page, data: Path) -> None:
    write(page)
    page.click("article .up")
    page.wait("document.querySelector('article .up').ariaPressed === 'true'")
    page.click("article .down")
    page.wait("document.querySelector('article .down').ariaPressed === 'true'")
    assert page.run("document.querySelector('article .up').ariaPressed") == "false"
    up, down = Undelivered(data / "feedback").batch()[-2:]
    assert (up.id, up.liked, down.liked) == (down.id, True, False)


def test_a_template_asks_for_its_parameters(page: Page) -> None:
    page.wait("document.querySelector('#template').options.length > 3")
    page.choose("#template", "report")
    assert page.text("#about") == "A report of something that happened"
    page.click("#parameter-event")
    page.type("the mill reopens")
    page.click("#write")
    time.sleep(0.1)
    assert page.run(IDLE)  # the browser asks for the place first
    page.click("#parameter-place")
    page.type("Harrow")
    page.press("Enter", 13)
    page.wait(DONE)
    assert page.text("article h1") == "The mill reopens"
    assert page.text("article .text").startswith("Harrow: This week,")


def test_an_article_is_copied(page: Page, url: str) -> None:
    page.send("Browser.grantPermissions", origin=url, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    write(page, "abc")
    page.click("article .copy")
    page.wait("document.querySelector('article .copy').textContent !== 'Copy'")
    if page.text("article .copy") == "Copied":
        assert page.run("navigator.clipboard.readText()").startswith("abc\n\n")


def test_the_keyboard_reaches_every_control_in_order(page: Page) -> None:
    write(page)
    page.run("document.querySelector('#topic').focus()")
    reached = []
    for _ in range(16):
        page.press("Tab", 9)
        reached.append(
            page.run("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
        )
    wanted = [
        "write",
        "length",
        "temperature",
        "seed",
        "SUMMARY",
        "compare",
        "left",
        "up",
        "down",
        "copy",
        "again",
        "keep",
        "SUMMARY",
        "SUMMARY",
    ]
    assert [each for each in reached if each in wanted] == wanted


def test_every_control_has_a_name_that_a_screen_reader_says(page: Page) -> None:
    write(page)
    page.click("#compare")
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "slider", "combobox", "switch", "link", "checkbox"}
    controls = [node for node in nodes if node.get("role", {}).get("value") in roles and not node.get("ignored")]
    assert len(controls) >= 12
    assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(page: Page, dark: bool) -> None:
    page.look(1280, 900, dark=dark)
    write(page)
    for selector in (".ask", "article .text", "article .facts", ".model", ".primary", ".caution"):
        colours = page.run(
            f"(() => {{ let e = document.querySelector('{selector}'); const ink = getComputedStyle(e).color;"
            "while (e && getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)') e = e.parentElement;"
            "return [ink, getComputedStyle(e ?? document.body).backgroundColor]; })()"
        )
        assert _contrast(*colours) >= 4.5, (selector, colours)  # WCAG 2.2, level AA


def _contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


LOOK = "document.dispatchEvent(new Event('visibilitychange')); 0"  # as when the reader comes back to the tab


def _offline(page: Page, offline: bool) -> None:
    speed = 0 if offline else -1
    page.send(
        "Network.emulateNetworkConditions",
        offline=offline,
        latency=0,
        downloadThroughput=speed,
        uploadThroughput=speed,
    )


def test_a_server_that_is_gone_is_named_and_the_same_is_asked_again(page: Page) -> None:
    _offline(page, True)
    write(page, "abc")
    assert page.text("article .problem") == "The server does not answer; try again in a moment."
    page.wait("document.querySelector('#model-text').innerText === 'The server does not answer'")
    _offline(page, False)
    page.click("article .retry")
    page.wait(f"{DONE} && document.querySelector('article .text').innerText")
    assert page.text("article h1") == "abc"
    assert page.run("['.retry', '.problem'].every(each => document.querySelector(`article ${each}`).hidden)")
    page.wait("document.querySelector('#model').classList.contains('ready')")
    page.problems.clear()


def test_a_promotion_shows_without_a_reload(page: Page, router: EngineRouter) -> None:
    assert page.text("#model-text") == "tiny · 2 versions"
    both = router.models()
    try:
        router._models = both[1:]
        page.run(LOOK)
        page.wait("document.querySelector('#model-text').innerText === 'tiny · version 8 · Staging'")
        assert page.text("#status") == "tiny · version 8 · Staging answers now."
        write(page)
        assert "tiny · version 8 · Staging · seed" in page.text("article .facts")
    finally:
        router._models = both


def test_earlier_articles_stay_in_this_browser_until_they_are_deleted(page: Page, url: str) -> None:
    page.run("localStorage.removeItem('articles')")
    page.open(f"{url}?again")
    page.wait(READY)
    page.run("document.querySelector('#length').value = 20; 0")
    assert page.run("document.querySelector('#history').hidden")
    for topic in ("abc", "cab"):
        write(page, topic)
    text = page.text("article .text")
    page.open(f"{url}?later")
    page.wait(READY)
    page.click("#history summary")
    assert page.run("[...document.querySelectorAll('#history .open')].map(each => each.innerText)") == ["cab", "abc"]
    page.click("#history .open")
    page.wait("document.querySelector('article h1').innerText === 'cab'")
    assert page.text("article .text") == text
    page.click("#history .delete")
    assert page.run("[...document.querySelectorAll('#history .open')].map(each => each.innerText)") == ["abc"]
    exported = page.run(
        "new Promise(done => { const made = URL.createObjectURL; URL.createObjectURL = file => {"
        "file.text().then(done); return made.call(URL, file); }; document.querySelector('#history .export').click(); })"
    )
    assert [each["topic"] for each in json.loads(exported)] == ["abc"]
    page.run("confirm = () => true; document.querySelector('#history .forget').click(); 0")
    assert page.run("document.querySelector('#history').hidden")
    assert page.problems == []


def test_an_example_topic_is_written_about(page: Page) -> None:
    page.click("#examples button")
    page.wait(DONE)
    assert page.text("article h1") == Serve().topics[0]


def test_the_length_is_bounded_by_the_window_and_a_long_topic_is_said_to_be_cut(
    page: Page, router: EngineRouter, url: str
) -> None:
    page.open(f"{url}?window")
    page.wait(READY)
    assert page.run("Number(document.querySelector('#length').max)") == router.models()[0].window
    page.click("#topic")
    page.type("x" * 301)
    assert page.text("#too-long") == "A topic has at most 300 characters; the rest was cut."
    page.press("Enter", 13)
    page.wait(DONE)
    assert "its beginning was cut" in page.text("article .facts")


def test_text_from_right_to_left_is_set_so(page: Page) -> None:
    write(page, "שלום עולם")
    for selector in ("#topic", "article h1"):
        assert page.run(f"getComputedStyle(document.querySelector('{selector}')).direction") == "rtl"
    assert page.run("document.querySelector('article .text p').dir") == "auto"


def test_the_page_fits_320_pixels_and_fingers(page: Page) -> None:
    write(page, "abc")
    page.click("#history summary")
    page.look(320, 640, phone=True)
    assert page.run("document.documentElement.scrollWidth <= 320")
    small = page.run(
        "[...document.querySelectorAll('button, select, input, summary')]"
        ".filter(each => each.getClientRects().length && each.type !== 'checkbox')"
        ".filter(each => each.getBoundingClientRect().height < 24).map(each => each.className || each.id)"
    )
    assert small == []  # WCAG 2.2, target size
    ids = page.run("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))
    named = "[...document.querySelectorAll('[aria-describedby], label[for]')].flatMap(each => (each.htmlFor || each.getAttribute('aria-describedby')).split(' '))"
    assert [each for each in page.run(named) if each not in ids] == []


AXE = os.environ.get("AXE_CORE", "")


@pytest.mark.skipif(not AXE, reason="AXE_CORE names no axe.min.js (npm pack axe-core, then unpack it)")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(page: Page, dark: bool) -> None:
    page.look(320, 800, dark=dark)
    write(page, "abc")
    page.click("#compare")
    page.click("#history summary")
    page.click("article .origin summary")
    page.wait("document.querySelector('article dl').children.length > 5")
    page.run(Path(AXE).read_text(encoding="utf-8") + "; 0")
    found = page.run("axe.run().then(r => r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.target.join(' '))]))")
    assert found == []
