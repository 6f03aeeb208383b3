"""A headless Chromium driven over its DevTools protocol by two pipes: no driver and no package is needed."""
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--disable-quic", "--remote-debugging-pipe")


def find():
    """The path of a browser, or None. A snap, as Ubuntu's chromium is, sees neither our files nor our pipes."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        path = shutil.which(name) if name else None
        if path and "snap" not in os.path.realpath(path) and b"/snap/bin/" not in pathlib.Path(path).read_bytes()[:10000]:
            return path
    return None


class Browser:
    def __init__(self, path):
        self.profile = tempfile.TemporaryDirectory()
        read_here, self.to_browser = os.pipe()
        self.from_browser, write_here = os.pipe()

        def place_pipes():  # Chromium reads 3 and writes 4
            read, write = os.dup(read_here), os.dup(write_here)
            os.dup2(read, 3)
            os.dup2(write, 4)
        self.process = subprocess.Popen([path, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
                                        preexec_fn=place_pipes, close_fds=False, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read_here)
        os.close(write_here)
        self.bytes = b""
        self.number = 0
        self.requested = []  # addresses of all requests of all pages and workers
        self.console = []

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        os.close(self.to_browser)
        os.close(self.from_browser)
        for _ in range(20):  # its children may write for a moment longer
            try:
                self.profile.cleanup()
                return
            except OSError:
                time.sleep(0.1)

    def send(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        return self.number

    def receive(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self.bytes:
            if not select.select([self.from_browser], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no word of the browser in {seconds} s")
            data = os.read(self.from_browser, 1 << 16)
            if not data:
                raise EOFError("the browser has ended")
            self.bytes += data
        message, self.bytes = self.bytes.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, seconds=60, **parameters):
        number = self.send(method, session, **parameters)
        while True:
            message = self.receive(seconds)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.hear(message)

    def watch(self, session):
        """Follows a page or worker, and the workers that it starts, which wait until they are followed."""
        self.send("Network.enable", session)
        self.send("Runtime.enable", session)
        self.send("Target.setAutoAttach", session, autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        self.send("Runtime.runIfWaitingForDebugger", session)

    def hear(self, message):
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Target.attachedToTarget":
            self.watch(parameters["sessionId"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled" or method == "Runtime.exceptionThrown":
            self.console.append(json.dumps(parameters)[:500])

    def page(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.watch(session)
        self.call("Page.enable", session)
        page = Page(self, session, target)
        self.call("Page.navigate", session, url=url)
        page.wait("document.readyState === 'complete'")
        return page


class Page:
    def __init__(self, browser, session, target):
        self.browser, self.session, self.target = browser, session, target

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} did not come true in {seconds} s; the page shows:\n" +
                                   str(self.value("document.body.innerText")) + "\n" + "\n".join(self.browser.console))
            time.sleep(0.02)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def drop_file(self, selector, path):
        x, y = self.value(f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('{selector}').getBoundingClientRect())")
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
