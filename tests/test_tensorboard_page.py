"""TensorBoard really shows a sweep: its page, opened in a browser, has the curves.

The README's picture is this test's:
SCREENSHOT=docs/tensorboard.png python -m pytest tests/test_tensorboard_page.py
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.slow

POLICIES = ["exp_range", "triangular", "triangular2"]
PINNED = [
    "schedule/lr",
    "schedule/cycle",
    "train/loss",
    "eval/accuracy",
    "eval/loss",
]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")


@pytest.fixture
def page(tmp_path, run_cli):
    """The address of a TensorBoard that shows a sweep over the policies."""
    sweep = tmp_path / "sweep"
    done = run_cli(
        "-m",
        f"scheduler={','.join(POLICIES)}",
        "training.epochs=40",
        f"hydra.sweep.dir={sweep}",
        "hydra.sweep.subdir=${hydra:runtime.choices.scheduler}",
    )
    assert done.returncode == 0, done.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(sweep)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait(lambda: sorted(_get(f"{address}data/runs")) == POLICIES)
        yield address
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def browser(tmp_path):
    selenium = pytest.importorskip("selenium.webdriver", reason="needs the dev extra's selenium")
    if BROWSER is None or DRIVER is None:
        pytest.skip("needs Chromium and its driver on the PATH")
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "enable-unsafe-swiftshader",
        "hide-scrollbars",
        "window-size=1400,1180",
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{flag}")
    driver = selenium.Chrome(options, selenium.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_the_page_shows_rate_cycle_loss_and_accuracy_of_every_policy(browser, page):
    pins = quote(json.dumps([{"plugin": "scalars", "tag": tag} for tag in PINNED]))
    browser.get(f"{page}?pinnedCards={pins}&smoothing=0#timeseries")
    browser.set_page_load_timeout(60)
    _wait(lambda: all(text in _text(browser) for text in [*PINNED, *POLICIES]))
    # Below each curve stands a table of every run's last value. The rates of update 879, the last
    # of the fourth descent of 110 steps: 0.01 + 0.19 / 110, and an eighth of that amplitude.
    _wait(lambda: "triangular0.0117879" in _text(browser))
    _wait(lambda: "triangular20.0102879" in _text(browser))
    _wait(lambda: _text(browser).count("triangular23879") >= 1)  # in cycle 3 at update 879
    if target := os.environ.get("SCREENSHOT"):
        browser.execute_script(
            "[...document.querySelectorAll('button')]"
            ".find(button => button.innerText.trim().endsWith('Settings')).click()"
        )
        time.sleep(3)  # until the curves are drawn to their new width
        Path(target).write_bytes(browser.get_screenshot_as_png())


def _text(browser):
    """What stands on the page, without white space."""
    return "".join(browser.execute_script("return document.body.innerText").split())


def _get(address):
    with urlopen(address, timeout=5) as answer:
        return json.load(answer)


def _wait(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if condition():
                return
        time.sleep(0.5)
    pytest.fail("the page never showed what was waited for")
