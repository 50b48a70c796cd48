"""The page in a real browser: a picture is dropped, chosen, or pasted, and its label is there."""

import base64
import contextlib
import html
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

selenium = pytest.importorskip("selenium", reason="selenium drives the browser: pip install selenium")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("needs chromium and chromedriver: apt install chromium chromium-driver", allow_module_level=True)

# As if the files had been let fall onto the page.
DROP = """
const files = new DataTransfer();
files.items.add(new File([Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0))], arguments[1]));
const event = new Event(arguments[2], {bubbles: true, cancelable: true});
event.dataTransfer = event.clipboardData = files;
document.getElementById("drop").dispatchEvent(event);
"""


@contextlib.contextmanager
def browser(width=1200, height=800, dark=False):
    """Opens a headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield driver
    finally:
        driver.quit()


def give(driver, content, name, event="drop"):
    """Gives the page a picture; returns what it says in the end."""
    driver.execute_script(DROP, base64.b64encode(content).decode(), name, event)
    return settled(driver)


def settled(driver):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 20, 0.02).until(lambda d: text(d, "time") or text(d, "bad"))
    return text(driver, "label"), text(driver, "bad")


def text(driver, name):
    return driver.find_element("id", name).text


@pytest.fixture(scope="module")
def driver():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(driver, served):
    driver.get(served.url + "/")
    return driver


def test_a_dropped_picture_gets_its_label_and_bars(page, run, model):
    file = sorted((run / "samples").glob("*.png"))[0]
    label, bad = give(page, file.read_bytes(), "<img src=x onerror=alert(1)>.png")
    expected = model.predict(np.asarray(Image.open(file))[None])
    assert (label, bad) == (expected["label"][0], "")
    # The name of the file is text.
    assert text(page, "name").startswith("<img src=x onerror=alert(1)>.png, ")
    assert re.fullmatch(r"Answered in [\d,]+ ms", text(page, "time"))
    rows = [row.text.split("\n") for row in page.find_elements("css selector", "#top li")]
    best = np.argsort(-expected["probabilities"][0], kind="stable")[:5]
    assert [name for name, _ in rows] == [str(n) for n in expected["class_names"][best]]
    shown = [float(value.removesuffix("\u2009%")) for _, value in rows]
    assert np.allclose(shown, 100 * expected["probabilities"][0][best], atol=0.051)
    assert page.find_element("id", "preview").is_displayed()


def test_a_bad_file_gets_its_status_and_the_next_one_is_answered(page, run):
    whole = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(whole, "JPEG")
    for content, status in ((b"junk", "no JPEG"), (b"", "no JPEG"), (whole.getvalue()[:-150], "damaged")):
        label, bad = give(page, content, "bad.jpg")
        assert label == "No answer."
        assert bad.startswith(f"bad.jpg: {status}")
    assert not page.find_elements("css selector", "#top li")
    assert give(page, whole.getvalue(), "good.jpg")[1] == ""


def test_pasted_and_chosen_by_keyboard(page, run, tmp_path):
    file = sorted((run / "samples").glob("*.png"))[1]
    dropped = give(page, file.read_bytes(), "a.png")
    assert give(page, file.read_bytes(), "b.png", "paste") == dropped
    assert text(page, "name").startswith("b.png")
    # The first stop of the Tab key is the field that Space and Enter open.
    from selenium.webdriver.common.keys import Keys

    page.find_element("tag name", "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "file"
    page.find_element("id", "file").send_keys(str(file))
    assert settled(page) == dropped


def test_the_page_needs_no_other_address_and_breaks_no_rule_of_its_own(page, served):
    source = served.get("/").text()
    assert not re.search(r"https?://", html.unescape(source))
    # What training and predict convert, the model itself does not decode.
    assert "WEBP; not TIF, TIFF, AVIF, HEIC, HEIF" in source
    assert [e for e in page.get_log("browser") if e["level"] == "SEVERE"] == []
    # Its rules hold: a script that somebody got in would not run.
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"
    )
    assert page.execute_script("return window.broken") is None
    assert any("Content Security Policy" in e["message"] for e in page.get_log("browser"))


@pytest.mark.parametrize(("width", "dark"), [(390, False), (320, True)])
def test_fits_a_phone(served, run, width, dark):
    with browser(width, 844, dark) as driver:
        driver.get(served.url + "/")
        file = sorted((run / "samples").glob("*.png"))[0]
        give(driver, file.read_bytes(), "a_very_long_name_without_any_place_to_break_it_" * 3 + ".png")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
