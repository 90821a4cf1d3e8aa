"""A headless Chromium, driven over its DevTools protocol: what a reader sees, clicks and types."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from local_servers import stop
from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE_S = 60


def chromium() -> str | None:
    """The browser of this machine, if it has one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.problems: list[str] = []  # what the page's console complained of
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=_PATIENCE_S))
            self._note(message)
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return dict(message["result"])

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(message["params"]["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(message["params"]["entry"]["text"])

    def open(self, url: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """What an expression gives; promises are awaited."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, patience_s: float = _PATIENCE_S) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + patience_s
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"it never came true: {condition}; {self.problems}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """What a reader sees of the first element; nothing where it is hidden."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def click(self, selector: str) -> None:
        """A real click, with the mouse, in the middle of the first element."""
        self._click(f"document.querySelector({json.dumps(selector)})")

    def click_words(self, words: str) -> None:
        """A real click on what shows exactly these words; of several, on the last, which lies on top."""
        self._click(
            "[...document.body.querySelectorAll('*')]"
            f".filter(e => e.innerText?.trim() === {json.dumps(words)} && e.getClientRects().length).at(-1)"
        )

    def _click(self, element: str) -> None:
        """Wait for an element to be there and at rest, and click it."""
        script = (
            f"(async () => {{ const e = {element}; if (!e) return null; e.scrollIntoView({{block: 'center'}});"
            # what moves does so from frame to frame, however long a busy machine takes for one
            "for (let n = 0; n < 2; n++) await new Promise(requestAnimationFrame);"
            "const r = e.getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        end = time.monotonic() + _PATIENCE_S
        former, place = None, self.run(script)
        while place is None or place != former:
            assert time.monotonic() < end, f"it never came to be there, or to rest: {element}"
            time.sleep(0.05)
            former, place = place, self.run(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        self.send("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """Press a key, such as Enter (13), Escape (27), Tab (9)."""
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option, as the browser's own list would."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            "e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def look(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """The window's size, and whether the reader likes it dark."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, whole: bool = False) -> None:
        """Save what is seen as PNG; `whole` reaches beyond the window."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def opened(profile: Path) -> Iterator[Page]:
    """A tab of a browser of its own."""
    program = chromium()
    assert program
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
    arguments += ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]
    process = subprocess.Popen(
        [program, *arguments, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(profile / "DevToolsActivePort", process)
        address = _tab(f"http://127.0.0.1:{port}/json/list")
        # no pings: a browser that is busy with a page answers late
        with connect(address, max_size=None, open_timeout=_PATIENCE_S, ping_interval=None) as connection:
            yield Page(connection)
    finally:
        stop(process)


def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError("the browser did not start")


def _tab(tabs: str) -> str:
    """The address of the first tab's protocol; the browser listens before it has one."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        for tab in httpx.get(tabs, timeout=_PATIENCE_S).json():
            if tab["type"] == "page":
                return str(tab["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError("the browser has no tab")
