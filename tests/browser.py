"""A real browser, Debian's chromium, driven headless; it has no leave to ask any network, and every request it makes is seen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


def missing() -> str:
    """Why there is no browser; "" when there is one."""
    absent = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(absent)} not installed (Debian's chromium, chromium-driver)" if absent else ""


class Browser:
    """A window of a size, in light or dark."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Open a file as if by a double click."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(path.as_uri())

    def run(self, script: str, *words: Any) -> Any:
        """What a script gives."""
        return self.driver.execute_script(script, *words)

    def count(self, selector: str) -> int:
        """How many elements fit."""
        return int(self.run("return document.querySelectorAll(arguments[0]).length", selector))

    def requests(self) -> list[str]:
        """Addresses asked for since `show`, the page's own left out."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url != self.driver.current_url.partition("#")[0]]

    def complaints(self) -> list[str]:
        """What the console says: errors, and what the policy of the page refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def axe(self) -> list[str]:
        """What axe-core finds, as "impact rule: element"."""
        from axe_core_python import __file__ as home

        source = Path(os.environ.get("UNPITCH_AXE") or Path(home).with_name("axe.min.js"))
        self.run(source.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document).then((result) => done(result.violations), (error) => done([String(error)]));"
        )
        return [f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]

    def picture(self, path: Path, height: int = 0) -> None:
        """A screenshot; of `height` pixels from the top, or of the whole page."""
        size = self.run("return [document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        import base64

        clip = {"x": 0, "y": 0, "width": size[0], "height": height or size[1], "scale": 1}
        data = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip}
        )
        path.write_bytes(base64.b64decode(data["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a new profile, gone at the end."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for word in (*_QUIET, f"--user-data-dir={profile}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(60)
        driver.set_script_timeout(60)
        yield Browser(driver)
    finally:
        driver.quit()
