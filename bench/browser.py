"""Headless Chromium, driven over its debugging pipe: JSON messages, each ended by a zero byte. No package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)


class Page:
    """A browser with one page. Closes with its `with` block."""

    def __init__(self, profile: Path, downloads: Path | None = None, flags: tuple[str, ...] = ()):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        arguments = [CHROMIUM or "chromium", *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]

        def pipes() -> None:  # where Chromium looks for them
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        nowhere = subprocess.DEVNULL
        self._process = subprocess.Popen(arguments, stdout=nowhere, stderr=nowhere, preexec_fn=pipes, pass_fds=(3, 4))
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._id, self._session = b"", 0, None
        try:
            self._attach(downloads)
        except BaseException:
            self.__exit__()
            raise

    def _attach(self, downloads: Path | None) -> None:
        target = self._first_page()
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM"):
            self.call(f"{domain}.enable")
        if downloads:
            self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def _first_page(self, timeout: float = 60) -> str:
        """Its identifier; a browser that starts may have other targets before. Raises: TimeoutError."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for target in self.call("Target.getTargets")["targetInfos"]:
                if target["type"] == "page" and target["url"] == "about:blank":
                    return target["targetId"]
            time.sleep(0.05)
        raise TimeoutError("Chromium opens no page")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, timeout: float = 120, of_page: bool = True, **parameters) -> dict:
        """A method of the DevTools protocol, of the page or of the browser. Raises: RuntimeError, TimeoutError."""
        self._id += 1
        message = {"id": self._id, "method": method, "params": parameters}
        if self._session and of_page:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            answer = self._message(end)
            if answer.get("id") == self._id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _message(self, end: float) -> dict:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        """Go to a page and wait until its modules have run."""
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def run(self, script: str, timeout: float = 120):
        """The value, as JSON has it, of an expression or its promise. Raises: RuntimeError with what it throws."""
        answer = self.call(
            "Runtime.evaluate", timeout, expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def until(self, condition: str, timeout: float = 120) -> None:
        """Wait for an expression to be true, while pages come and go. Raises: TimeoutError."""
        end = time.monotonic() + timeout
        look = f"const look = () => ({condition}) || performance.now() > end ? done({condition}) : setTimeout(look, 20)"
        poll = f"new Promise(done => {{ const end = performance.now() + 2000; {look}; look(); }})"
        while time.monotonic() < end:
            try:
                if self.run(poll, timeout=10):
                    return
            except (TimeoutError, RuntimeError):
                continue  # this page was on its way out, or is not yet in
        raise TimeoutError(f"never true: {condition}; the page shows {self.run('document.body.innerText')!r}")

    def key(self, name: str) -> None:
        text = name if len(name) == 1 else ""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element."""
        return tuple(
            self.run(
                f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
                f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
            )
        )

    def click(self, selector: str) -> None:
        x, y = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def wheel(self, x: float, y: float, by: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)

    def drop(self, selector: str, *files: Path) -> None:
        """Files of this machine onto an element."""
        x, y = self.place(selector)
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose(self, selector: str, *files: Path) -> None:
        """Files for an <input type="file">."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def screen(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Size of the window in CSS pixels, and what the user prefers."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def peak_mb(self) -> float:
        """The most resident memory that a page's process has had, workers included (Linux)."""
        found = self.call("SystemInfo.getProcessInfo", of_page=False)["processInfo"]
        status = [Path(f"/proc/{one['id']}/status").read_text() for one in found if one["type"] == "renderer"]
        return max(int(text.split("VmHWM:")[1].split()[0]) for text in status) / 1e3

    def picture(self, path: Path) -> None:
        """A screenshot, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
