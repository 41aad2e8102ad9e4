"""Promise: the page at / runs programs, shows what they leave, keeps sessions as a tree; by keyboard as by mouse, dark and light, with
nothing fetched from elsewhere. In a real browser."""
import hashlib
import re

import pytest
from playwright.sync_api import expect, sync_playwright
from server import Server

SECONDS = 1000
BLOCKED = re.compile(r"Blocked script execution in 'about:srcdoc'|Loading the image '\S+/x' violates")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("playground"), http=True)
    yield server
    server.stop()


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1200, "height": 760}, color_scheme="light")
    page, errors, foreign = context.new_page(), [], []
    page.set_default_timeout(60 * SECONDS)
    # What a program's HTML tried in vain is told there, too.
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" and not BLOCKED.match(m.text) else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith((server.base, "data:", "blob:", "about:")) else foreign.append(r.url))
    page.goto(server.base + "/")
    yield page
    assert (errors, foreign) == ([], [])
    context.close()


def write(page, code):
    page.fill("#code", code)


def test_the_first_look(page):
    expect(page).to_have_title("polyagent playground")
    expect(page.locator("#code")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#output .result")).to_contain_text("[2, 3, 5, 7, 11")
    expect(page.locator("#usage")).to_have_text(re.compile(r"exit code 0 +· +[\d.]+ ms +· +CPU [\d.]+ ms +· +[\d.]+ MiB +· +\d+ layers"))
    assert page.locator("#paint .k").all_inner_texts()[:2] == ["def", "for"] and page.locator("#paint .d").inner_text() == "primes"


def test_output_comes_as_it_is_written_and_stops(page):
    write(page, "import time\nfor i in range(100):\n    print('line', i)\n    time.sleep(0.2)")
    page.click("#run")
    expect(page.locator("#output")).to_contain_text("line 1")
    expect(page.locator("#run")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#output .error")).to_have_text("stopped")
    expect(page.locator("#run")).to_be_enabled()
    assert "line 99" not in page.inner_text("#output")


def test_errors_are_shown_as_such(page):
    write(page, "import sys\nprint('out')\nprint('err', file=sys.stderr)\n1 / 0")
    page.click("#run")
    expect(page.locator("#output .stderr")).to_contain_text("ZeroDivisionError")
    expect(page.locator("#usage")).to_contain_text("exit code 1")
    page.click("summary")
    page.fill("#timeout", "1")
    write(page, "while True: pass")
    page.click("#run")
    expect(page.locator("#output .error")).to_contain_text("TIMEOUT: Execution timeout")


def test_input_images_tables_and_files(page):
    page.click("summary")
    page.fill("#stdin", "Ada")
    write(page, "print('hello', input())\nopen('/output/a.csv', 'w').write('1,2')\nNone")
    page.click("#run")
    expect(page.locator("#output .stdout")).to_have_text("hello Ada\n")
    with page.expect_download() as download:
        page.click("#output a.artifact")
    assert download.value.suggested_filename == "a.csv" and download.value.path().read_text() == "1,2"
    page.select_option("#example", "A figure (matplotlib)")
    page.click("#run")
    image = page.locator("#output img")
    expect(image).to_be_visible()
    assert image.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [640, 480]
    page.select_option("#example", "A table (pandas)")
    page.click("#run")
    expect(page.frame_locator("#output iframe").locator("td").first).to_have_text("Oslo")


def test_html_of_a_program_can_do_nothing(page, server):
    """It is a stranger's: no script of it runs, and it reaches nothing of the page."""
    write(page, "class Evil:\n    def _repr_html_(self):\n        return '<script>parent.document.title = \"taken\"</script><img src=x onerror=\"parent.document.title=1\"><p>shown'\nEvil()")
    page.click("#run")
    expect(page.frame_locator("#output iframe").locator("p")).to_have_text("shown")
    page.wait_for_timeout(300)
    assert page.title() == "polyagent playground" and page.locator("#output iframe").get_attribute("sandbox") == ""
    write(page, "'<b>text</b><script>document.title = 1</script>'")
    page.click("#run")
    expect(page.locator("#output .result")).to_contain_text("<b>text</b>")


def test_sessions_are_a_tree(page):
    page.click("#new-session")
    expect(page.locator("#where")).to_contain_text("in session")
    write(page, "x = 1")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#usage")).to_contain_text("session: kept")
    page.click("text=checkpoint")
    write(page, "x = 2")
    page.click("#run")
    expect(page.locator("#tree .about")).to_contain_text("2 turns")
    page.click("text=branch")
    expect(page.locator("#tree > li > ul > li .row.here")).to_have_count(1)
    write(page, "x += 10\nx")
    page.click("#run")
    expect(page.locator("#output .result")).to_have_text("12")
    page.click("#tree > li > .row .name")  # the first one
    page.click("text=↩ c1")
    expect(page.locator("#tree > li > .row .about")).to_contain_text("1 turn ")
    write(page, "x")
    page.click("#run")
    expect(page.locator("#output .result")).to_have_text("1")
    write(page, "x = 5\nwhile True: pass")
    page.click("#run")
    page.wait_for_timeout(500)
    page.keyboard.press("Escape")
    expect(page.locator("#usage")).to_contain_text("session: unchanged")
    for _ in range(2):
        page.locator("#tree button[title=Close]").last.click()
        page.wait_for_timeout(300)
    expect(page.locator("#tree .row")).to_have_count(0)
    expect(page.locator("#where")).to_have_text("in a fresh sandbox")


def test_javascript(page):
    page.select_option("#language", "javascript")
    page.select_option("#example", "Timers")
    page.click("#run")
    expect(page.locator("#output .stdout")).to_have_text("tick 1\ntick 2\ntick 3\n")
    assert page.locator("#paint .k").first.inner_text() == "let"


def test_keyboard_alone(page):
    page.keyboard.press("Control+a")
    page.keyboard.type("for i in range(2):\nprint(i)")
    assert page.input_value("#code") == "for i in range(2):\n    print(i)"  # indented
    page.keyboard.press("Escape")
    expect(page.locator("#run")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#output .stdout")).to_have_text("0\n1\n")


def test_dark_and_light(browser, server, page):
    color = lambda p: p.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    light = color(page)
    page.click("#theme")
    dark = color(page)
    assert light == "rgb(255, 255, 255)" and dark == "rgb(20, 23, 28)"
    page.reload()
    assert color(page) == dark  # it is remembered
    context = browser.new_context(color_scheme="dark")
    other = context.new_page()
    other.goto(server.base + "/")
    assert color(other) == dark
    context.close()


def test_narrow_windows(page):
    page.set_viewport_size({"width": 420, "height": 800})
    left, right = page.locator("#left").bounding_box(), page.locator("#right").bounding_box()
    assert right["y"] >= left["y"] + left["height"] - 1 and left["width"] > 380


def test_with_tokens_it_asks_for_one(browser, tmp_path):
    (tmp_path / "tokens").write_text(f"me:{hashlib.sha256(b'secret').hexdigest()}\n")
    (tmp_path / "c.yaml").write_text(f"server: {{auth: {{tokens_file: '{tmp_path}/tokens'}}}}\n")
    server = Server(tmp_path, "--config", tmp_path / "c.yaml", http=True)
    page = browser.new_page()
    page.goto(server.base + "/")
    expect(page.locator("#token-label")).to_be_visible()
    for token, words in (("", "The server wants a token."), ("wrong", "The server does not know this token.")):
        page.fill("#token", token)
        page.click("#run")
        expect(page.locator("#output .error")).to_contain_text(words)
        expect(page.locator("#usage")).to_have_text("")
    page.fill("#token", "secret")
    page.click("#run")
    expect(page.locator("#output .result")).to_contain_text("[2, 3, 5")
    page.close()
    server.stop()


def test_fields_have_the_servers_ceilings(page):
    expect(page.locator("#timeout")).to_have_attribute("max", "300")
    expect(page.locator("#memory")).to_have_attribute("max", "1024")
