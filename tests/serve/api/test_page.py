"""The pages in a real browser, spoken to by its own protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.api import Keys, create_app, keys
from serve.local import LocalBackend
from serve.mixture import Mixture

connect = pytest.importorskip("websockets.sync.client").connect
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
]
FR, EN = "la maison près du fleuve", "the house near a river"


class Tab:
    """A page in the browser."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count()
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < until, (expression, self.js("document.body.innerText"), self.complaints)
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """As a person does, a key at a time."""
        self.js("document.getElementById('prompt').focus()")
        for letter in text:
            self._call("Input.insertText", text=letter)

    def click(self, name: str) -> None:
        self.js(f"document.getElementById('{name}').click()")

    def text(self, name: str) -> str:
        found: str = self.js(f"document.getElementById('{name}').textContent")
        return found

    def picture(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv(timeout=30))
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            level = said["params"].get("entry", {}).get("level")
            if said["method"] == "Runtime.exceptionThrown" or level in ("warning", "error"):
                self.complaints.append(json.dumps(said["params"]))


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
             "--window-size=1100,800", f"--user-data-dir={tmp_path}", "about:blank"]  # fmt: skip
    process = subprocess.Popen([str(CHROMIUM), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, until = tmp_path / "DevToolsActivePort", time.monotonic() + 60
        while not (port.is_file() and port.read_text().count("\n")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        (page,) = [each for each in httpx.get(f"{address}/json").json() if each["type"] == "page"]
        with connect(page["webSocketDebuggerUrl"], max_size=None, compression=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(20)


def test_the_page_shows_the_route_while_one_types_and_streams_the_answer(tab: Tab, address: str) -> None:
    tab.open(f"{address}/")
    tab.wait("document.querySelectorAll('#model option').length === 3")
    assert tab.text("state") == "2 experts, version 0"
    tab.type(FR)
    tab.wait("document.getElementById('route').textContent === 'fr routed'")
    bars = "[...document.querySelectorAll('#probabilities .bar')]"
    assert tab.js(f"{bars}.map((e) => e.firstChild.textContent)") == ["fr", "en", "none"]
    first, second, _ = tab.js(f"{bars}.map((e) => e.querySelector('i').getBoundingClientRect().width)")
    assert first > 50 * second > 0
    tab.type(f". {EN}")
    tab.wait(f"document.getElementById('spans').textContent === '{FR}. {EN}'")
    spans = tab.js("[...document.querySelectorAll('#spans .span')].map((e) => [e.title, e.textContent])")
    assert [label for label, _ in spans] == ["fr", "en"]
    assert [text.strip(". ") for _, text in spans] == [FR, EN]
    tab.js("document.getElementById('tokens').value = 8; document.getElementById('temperature').value = 0")
    tab.click("go")
    tab.wait("document.getElementById('figures').textContent.startsWith('8 tokens')")
    body = {"prompt": f"{FR}. {EN}", "max_tokens": 8, "temperature": 0}
    whole = httpx.post(f"{address}/v1/completions", json=body).json()
    assert tab.text("answer") == whole["choices"][0]["text"]
    assert tab.text("expert") == f"{whole['model']} routed"
    if folder := os.environ.get("MOME_SCREENSHOTS"):
        tab.picture(Path(folder) / "page.png")
    assert not tab.complaints


def test_what_is_wrong_is_told_on_the_page(tab: Tab, address: str) -> None:
    tab.open(f"{address}/")
    tab.wait("document.querySelectorAll('#model option').length === 3")
    tab.click("go")
    tab.wait("document.getElementById('problem').textContent.includes('prompt')")
    assert tab.js("document.getElementById('problem').hidden") is False
    tab.type("<img src=x onerror=\"document.title='broken'\"> </textarea>")
    tab.wait("document.getElementById('route').textContent")
    assert tab.js("document.title") == "MoME"


def test_the_page_asks_for_a_key_where_there_are_keys(
    tab: Tab, mixture: Mixture, served: Callable[[Any], AbstractContextManager[str]], tmp_path: Path
) -> None:
    key = keys.add(tmp_path / "keys.json", "me")
    with served(create_app(LocalBackend(mixture), Keys(tmp_path / "keys.json"))) as url:
        tab.open(f"{url}/")
        tab.wait("!document.querySelector('.key').hidden")
        tab.js(f"key.value = '{key}'; key.dispatchEvent(new Event('change'))")
        tab.wait("document.querySelectorAll('#model option').length === 3")
        tab.open(f"{url}/docs")
        tab.wait("document.querySelectorAll('article').length > 8")


def test_the_description_is_a_page_that_loads_nothing_from_elsewhere(tab: Tab, address: str) -> None:
    tab.open(f"{address}/docs")
    tab.wait("document.querySelectorAll('article').length > 8")
    described = httpx.get(f"{address}/openapi.json").json()
    assert tab.js("document.body.innerText").count("POST /v1/") == 4
    assert tab.js("document.querySelectorAll('article').length") == sum(map(len, described["paths"].values()))
    origins = tab.js("performance.getEntriesByType('resource').map((e) => new URL(e.name).origin)")
    assert set(origins) <= {address, "null"}
    if folder := os.environ.get("MOME_SCREENSHOTS"):
        tab.picture(Path(folder) / "docs.png")
    assert not tab.complaints
