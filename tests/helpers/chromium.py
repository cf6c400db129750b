"""Chromium without a window, spoken to through a pipe: pages opened, keys pressed, what was drawn looked at.

Nothing is needed beside an installed Chromium: the DevTools protocol over file descriptors 3 and 4, one JSON object a
message, each ended by a zero byte (https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
         "--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-pipe",
         "--force-device-scale-factor=1", "--mute-audio", "about:blank")  # fmt: skip


def installed() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


READY = (
    "document.getElementById('vd-plot')?.dataset.drawn && document.documentElement.dataset.ready"
)
"""Holds once a report has drawn its first chart and set up its tables."""


class BrowserError(AssertionError):
    """What a page or the browser reported."""


class Browser:
    """A running Chromium with one page.

    Attributes:
        console: Errors, warnings and exceptions of the page, in words.
        requests: Addresses that the page asked for, other than its own file and data within it.
    """

    def __init__(self) -> None:
        path = installed()
        assert path is not None
        self.console: list[str] = []
        self.requests: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._count = 0
        self._rest = b""
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # descriptors 3 and 4 are the protocol's: these are moved there in the child, from places that are neither
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out)]
        self._process = subprocess.Popen(
            [path, f"--user-data-dir={self._profile.name}", *FLAGS],
            preexec_fn=lambda: [os.dup2(fd, place) for fd, place in zip(ends, (3, 4), strict=True)],
            pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        for fd in (theirs_in, theirs_out, *ends):
            os.close(fd)
        targets = self._send("Target.getTargets", session=False)["targetInfos"]
        target = next(x["targetId"] for x in targets if x["type"] == "page")
        self._session = self._send("Target.attachToTarget", session=False,
                                   targetId=target, flatten=True)["sessionId"]  # fmt: skip
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self._send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """End the browser and its children."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def _send(self, method: str, session: bool = True, **params: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            got = self._read()
            if got.get("id") == self._count:
                if "error" in got:
                    raise BrowserError(f"{method}: {got['error']}")
                return dict(got["result"])
            self._take(got)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 20)
            if not part:
                raise BrowserError("Chromium ended.")
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(first))

    def _take(self, event: dict[str, Any]) -> None:
        """Keep what a page has to say for itself."""
        name, got = event.get("method"), event.get("params", {})
        self._events.append(event)
        if name == "Runtime.exceptionThrown":
            about = got["exceptionDetails"]
            self.console.append(str(about.get("exception", {}).get("description") or about["text"]))
        elif name == "Runtime.consoleAPICalled" and got["type"] in ("error", "warning", "assert"):
            said = (str(x.get("value") or x.get("description")) for x in got["args"])
            self.console.append(f"{got['type']}: {' '.join(said)}")
        elif name == "Log.entryAdded" and got["entry"]["level"] in ("error", "warning"):
            self.console.append(f"{got['entry']['level']}: {got['entry']['text']}")
        elif name == "Network.requestWillBeSent":
            address = got["request"]["url"]
            if not address.startswith(("file:", "data:", "about:", "blob:")):
                self.requests.append(address)

    def size(self, width: int, height: int = 800) -> None:
        """Set the window's inner size in CSS pixels."""
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                   deviceScaleFactor=1, mobile=False)  # fmt: skip

    def scheme(self, name: str = "light", media: str = "") -> None:
        """Prefer ``light`` or ``dark``; show pages for ``print`` or, by default, for a screen."""
        self._send("Emulation.setEmulatedMedia", media=media,
                   features=[{"name": "prefers-color-scheme", "value": name}])  # fmt: skip

    def scripts(self, allowed: bool) -> None:
        """Let pages run scripts or not."""
        self._send("Emulation.setScriptExecutionDisabled", value=not allowed)

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a file and wait until it is loaded; what earlier pages said is forgotten."""
        self._go("about:blank")
        self.console.clear()
        self.requests.clear()
        self._go(path.resolve().as_uri() + fragment)

    def show(self, path: Path, fragment: str = "", width: int = 1280) -> Browser:
        """Open a report in light colours and wait until its first chart is drawn and its tables are set up."""
        self.scripts(True)
        self.scheme()
        self.size(width)
        self.open(path, fragment)
        self.wait(READY)
        return self

    def _go(self, address: str) -> None:
        self._events.clear()
        self._send("Page.navigate", url=address)
        while not any(e.get("method") == "Page.loadEventFired" for e in self._events):
            self._take(self._read())

    def run(self, script: str) -> Any:
        """Evaluate JavaScript in the page, waiting for a promise, and return its value."""
        got = self._send("Runtime.evaluate", expression=script, awaitPromise=True,
                         returnByValue=True, allowUnsafeEvalBlockedByCSP=True)  # fmt: skip
        if "exceptionDetails" in got:
            about = got["exceptionDetails"]
            raise BrowserError(str(about.get("exception", {}).get("description") or about["text"]))
        return got["result"].get("value")

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Wait until a condition of the page holds."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise BrowserError(f"not within {seconds} s: {condition}; console: {self.console}")
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press a key, such as ``Tab`` or ``Enter``."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowRight": 39, "End": 35}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "code": "Space" if key == " " else key,
                  "windowsVirtualKeyCode": codes[key]}  # fmt: skip
        down = common | ({"text": text} if text else {})
        self._send("Input.dispatchKeyEvent", type="keyDown", **down)
        self._send("Input.dispatchKeyEvent", type="keyUp", **common)

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self._send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def shot(self, path: Path, whole: bool = False) -> None:
        """Save a picture of the window, or of the whole page."""
        got = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(got["data"]))

    def printed(self) -> bytes:
        """Print the page on A4 and return the PDF."""
        got = self._send("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, marginTop=0.4,
                         marginBottom=0.4, marginLeft=0.4, marginRight=0.4)  # fmt: skip
        return base64.b64decode(got["data"])
