"""The interactive figures in a browser, opened as files: run by ``make site-test``."""

import json
import re
import statistics

import pytest
from built_site import DESKTOP, LOCAL, PHONE, SITE, visit, window

pytestmark = pytest.mark.site

PAGES = {
    "density": "01_hierarchies",
    "flow": "03_the_kl_alone",
    "tempering": "04_the_vae",
    **dict.fromkeys(("film", "playback", "dial"), "index"),
}
PLAYED = ["film", "playback"]
STATE = """(figure) => ({
  sentence: figure.querySelector(".explorer-sentence").textContent,
  labels: [...figure.querySelectorAll("svg[role=img]")].map((e) => e.getAttribute("aria-label")),
  outputs: [...figure.querySelectorAll("output")].map((e) => e.textContent),
  spoken: [...figure.querySelectorAll("input")].map((e) => e.getAttribute("aria-valuetext")),
  curves: [...figure.querySelectorAll("g > path")].map((e) => e.getAttribute("d")),
  pictures: [...figure.querySelectorAll("image")].map((e) => e.getAttribute("y")),
})"""
AS_BUILT = """(figure) => figure.querySelectorAll("[data-control]").forEach((control) => {
  if (control.matches("input")) control.value = control.defaultValue;
  else control.selectedIndex = [...control.options].findIndex((option) => option.defaultSelected);
  control.dispatchEvent(new Event("input", { bubbles: true }));
})"""
# One move after another, from the event to the finished layout, in milliseconds.
MOVES = """(figure) => [...figure.querySelectorAll("input")].flatMap((slider) =>
  [...Array(Number(slider.max) + 1).keys()].map((value) => {
    const start = performance.now();
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    figure.getBoundingClientRect();
    return performance.now() - start;
  }))"""
# How high the page is with each of the sentences.
HEIGHTS = """(figure) => {
  const { sentences } = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const told = figure.querySelector(".explorer-sentence"), before = told.textContent;
  const heights = new Set(sentences.map((text) => ((told.textContent = text), document.documentElement.scrollHeight)));
  told.textContent = before;
  return [...heights];
}"""
# How many frames the file of each picture has, and how many its place on the page has room for.
FRAMES = """(figure) => Promise.all([...figure.querySelectorAll("image")].map(async (place) => {
  const file = new Image();
  file.src = place.href.baseVal;
  await file.decode();
  const frame = file.naturalWidth / 2; // a frame is half as high as wide
  return [file.naturalHeight / frame, Number(place.getAttribute("height")) / 760];
}))"""
# The contrast of each curve with the page behind it (WCAG 2.2, 1.4.11), by its colour.
CONTRASTS = """(figure) => {
  const luminance = (colour) => {
    const linear = colour.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  const curves = [...figure.querySelectorAll("g > path:not(.explorer-grid, .explorer-area)")];
  return Object.fromEntries(curves.map((curve) => getComputedStyle(curve).stroke).map((colour) => {
    const both = [luminance(colour), ground].sort((a, b) => a - b);
    return [colour, (both[1] + 0.05) / (both[0] + 0.05)];
  }));
}"""


def at(name):
    return f"figure.explorer[data-explorer={name}]"


@pytest.fixture(scope="module", params=PAGES)
def opened(request, browser):
    """The page of an explorer on a desktop, and the addresses that it asked for."""
    context = window(browser, color_scheme="light")
    tab, asked = context.new_page(), []
    tab.on("request", lambda r: asked.append(r.url))
    visit(tab, f"{SITE.as_uri()}/{PAGES[request.param]}.html")
    yield tab.locator(at(request.param)), asked
    context.close()


@pytest.fixture
def figure(opened):
    opened[0].evaluate(AS_BUILT)
    return opened[0]


@pytest.fixture(scope="module", params=PAGES)
def on_a_phone(request, browser):
    context = window(browser, viewport=PHONE, has_touch=True, is_mobile=True)
    visit(tab := context.new_page(), f"{SITE.as_uri()}/{PAGES[request.param]}.html")
    yield tab.locator(at(request.param))
    context.close()


@pytest.fixture
def touched(on_a_phone):
    """The explorer under a finger, its first slider in the middle of the window; it counts what touches it."""
    on_a_phone.evaluate(AS_BUILT)
    on_a_phone.evaluate("""(figure) => {
      const slider = figure.querySelector("input");
      slider.scrollIntoView({ block: "center", behavior: "instant" });
      figure.pointers = [];
      slider.onpointerdown = (event) => figure.pointers.push(event.pointerType);
    }""")
    return on_a_phone


def table(figure):
    return json.loads(figure.locator("script[type='application/json']").text_content())


def first_slider(figure):
    """The texts of the positions of the first slider; a list may stand before it."""
    lists = figure.locator("[data-control]").evaluate_all("(all) => all.map((one) => one.matches('select'))")
    return table(figure)["values"][lists.index(False)]


def changed(figure, before):
    """The state after a move, checked to be consistent in itself and another one than before."""
    after = figure.evaluate(STATE)
    assert after["sentence"] != before["sentence"]
    assert after["curves"] != before["curves"]
    assert all(label.endswith(after["sentence"]) for label in after["labels"])
    assert after["outputs"] == after["spoken"]
    return after


@pytest.mark.parametrize("name", PAGES)
def test_an_explorer_without_scripts_is_a_still_figure(name, browser, tab):
    context = window(browser, java_script_enabled=False)
    bare, alive = (each.locator(at(name)) for each in (context.new_page(), tab))
    for each in (bare, alive):
        each.page.goto(f"{SITE.as_uri()}/{PAGES[name]}.html", wait_until="domcontentloaded")
    assert alive.locator(".explorer-controls").is_visible()
    assert not bare.locator(".explorer-controls").is_visible()
    assert bare.locator("noscript").is_visible()
    assert bare.locator("svg[role=img]").count() >= 2
    state = alive.evaluate(STATE)
    assert bare.locator(".explorer-sentence").text_content() == state["sentence"]
    drawn = [path.get_attribute("d") for path in bare.locator("g > path").all()]
    assert drawn == state["curves"]
    assert all(re.match(r"M-?\d", d) for d in drawn)
    assert [image.get_attribute("y") for image in bare.locator("image").all()] == state["pictures"]
    context.close()


def test_the_keyboard_moves_every_slider(figure):
    state = figure.evaluate(STATE)
    for slider in figure.locator("input").all():
        slider.focus()
        figure.page.keyboard.press("ArrowLeft")
        state = changed(figure, state)


@pytest.mark.parametrize("opened", ["flow"], indirect=True)
def test_the_keyboard_chooses_from_a_list(figure):
    before = figure.evaluate(STATE)
    assert "from misfit 1" in before["sentence"]
    figure.locator("select").focus()
    figure.page.keyboard.press("ArrowUp")
    assert "from the start" in changed(figure, before)["sentence"]


def test_both_ends_of_all_controls_are_the_ends_of_the_table(figure):
    sentences = table(figure)["sentences"]
    for key, want in (("Home", sentences[0]), ("End", sentences[-1])):
        for control in figure.locator("[data-control]").all():
            control.focus()
            figure.page.keyboard.press(key)
        assert figure.evaluate(STATE)["sentence"] == want


def test_a_move_is_drawn_in_50_ms(figure):
    took = figure.evaluate(MOVES)
    assert len(took) >= 8
    assert statistics.median(took) < 50, took


def test_a_move_asks_for_nothing(figure, opened):
    asked = opened[1]
    before = len(asked)
    figure.evaluate(MOVES)
    figure.page.wait_for_timeout(200)
    assert asked[before:] == []
    assert [url for url in asked if not url.startswith((SITE.as_uri(), *LOCAL))] == []


def test_the_theme_has_colours_of_its_own_for_text_and_lines(figure):
    seen = []
    for scheme in ("dark", "light"):
        figure.page.emulate_media(color_scheme=scheme)
        figure.page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        text, number, grey, tinted = (
            figure.locator(query).first.evaluate(f"(element) => getComputedStyle(element).{what}")
            for query, what in (
                (".explorer-sentence", "color"),
                ("svg[role=img] text", "fill"),
                (".explorer-grid", "stroke"),
                ("g > path[style]", "stroke"),
            )
        )
        assert text == number
        inks = figure.locator("g > .explorer-ink").all()
        assert all(ink.evaluate("(path) => getComputedStyle(path).stroke") == text for ink in inks)
        assert min(figure.evaluate(CONTRASTS).values()) >= 3
        seen.append((text, grey, tinted))
    (text, grey, tinted), light = seen
    assert text != light[0]
    assert grey != light[1]
    assert tinted != light[2]


def test_a_tap_moves_a_slider(touched):
    before, box = touched.evaluate(STATE), touched.locator("input").first.bounding_box()
    assert box["height"] >= 24
    touched.page.touchscreen.tap(box["x"] + 3, box["y"] + box["height"] / 2)
    assert changed(touched, before)["outputs"][0] == first_slider(touched)[0]
    assert touched.evaluate("(figure) => figure.pointers") == ["touch"]


def test_a_finger_drags_a_slider(touched):
    before, box = touched.evaluate(STATE), touched.locator("input").first.bounding_box()
    finger = touched.page.context.new_cdp_session(touched.page)
    y = box["y"] + box["height"] / 2
    for kind, share in (("Start", 0.5), *(("Move", 0.5 - step / 20) for step in range(1, 11))):
        point = {"x": box["x"] + share * box["width"], "y": y}
        finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert changed(touched, before)["outputs"][0] == first_slider(touched)[0]
    assert touched.evaluate("(figure) => figure.pointers") == ["touch"]


def test_nothing_of_an_explorer_sticks_out_on_a_phone(on_a_phone):
    assert on_a_phone.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for part in on_a_phone.locator("svg[role=img], input, select, button, .explorer-sentence").all():
        box = part.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    assert on_a_phone.locator("svg[role=img]").first.bounding_box()["width"] > 0.8 * PHONE["width"]


def test_a_sentence_does_not_move_the_page(figure):
    try:
        for width in (320, 375, 430, 768, 1440):
            figure.page.set_viewport_size({"width": width, "height": 740})
            assert len(figure.evaluate(HEIGHTS)) == 1, width
    finally:
        figure.page.set_viewport_size(DESKTOP)


@pytest.mark.parametrize("opened", ["film", "playback"], indirect=True)
def test_four_panels_stand_two_by_two(figure):
    panels = figure.locator(".explorer-panels")
    panels.evaluate("(panels) => { panels.style.inlineSize = '950px'; }")
    assert len({panel.bounding_box()["x"] for panel in panels.locator("> svg").all()}) == 2
    panels.evaluate("(panels) => panels.removeAttribute('style')")


@pytest.fixture
def player(figure):
    """The button of a figure, which takes a second for all positions; it is stopped in the end."""
    button = figure.locator("button[data-plays]")
    button.evaluate("(button) => { button.dataset.seconds = 1; }")
    yield button
    if button.text_content() == "Stop":
        button.click()


@pytest.mark.parametrize("opened", PLAYED, indirect=True)
def test_a_film_plays_to_its_end_and_is_told_only_there(figure, player):
    figure.evaluate("""(figure) => {
      figure.seen = new Set();
      const sentence = figure.querySelector(".explorer-sentence");
      new MutationObserver(() => figure.seen.add(`${sentence.getAttribute("aria-live")}: ${sentence.textContent}`))
        .observe(sentence, { childList: true });
    }""")
    player.click()
    assert player.text_content() == "Stop"
    assert figure.locator(".explorer-sentence").get_attribute("aria-live") == "off"
    figure.locator("button", has_text="Play").wait_for()
    slider = figure.locator("input")
    assert slider.input_value() == slider.get_attribute("max")
    seen = figure.evaluate("(figure) => [...figure.seen]")
    assert len(seen) > int(slider.get_attribute("max"))  # all positions, from the first on
    assert [one for one in seen if one.startswith("polite")] == [f"polite: {figure.evaluate(STATE)['sentence']}"]


@pytest.mark.parametrize("opened", PLAYED, indirect=True)
def test_the_keyboard_stops_a_film_and_lets_it_go_on(figure, player):
    slider = figure.locator("input")
    player.focus()
    figure.page.keyboard.press("Enter")
    figure.page.wait_for_function("(slider) => slider.value > 1", arg=slider.element_handle())
    figure.page.keyboard.press("Space")
    stopped = int(slider.input_value())
    assert player.text_content() == "Play"
    figure.page.wait_for_timeout(400)
    assert 1 < int(slider.input_value()) == stopped < int(slider.get_attribute("max"))
    figure.page.keyboard.press("Enter")
    assert int(slider.input_value()) >= stopped


@pytest.mark.parametrize("opened", PLAYED, indirect=True)
def test_who_moves_a_control_stops_the_film(figure, player):
    player.click()
    figure.locator("input").focus()
    figure.page.keyboard.press("End")
    assert player.text_content() == "Play"
    assert figure.locator(".explorer-sentence").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("opened", PLAYED, indirect=True)
def test_nothing_moves_by_itself_where_that_is_not_wanted(figure):
    button = figure.locator("button[data-plays]")
    assert button.is_visible()
    figure.page.emulate_media(reduced_motion="reduce")
    assert not button.is_visible()
    figure.page.emulate_media(reduced_motion="no-preference")


@pytest.mark.parametrize("opened", ["playback"], indirect=True)
def test_the_pictures_are_there_and_follow_the_moment_and_the_model(figure):
    frames = figure.evaluate(FRAMES)
    assert len(frames) == 2
    assert all(in_file == on_page > 8 for in_file, on_page in frames)
    before = figure.evaluate(STATE)["pictures"]
    figure.locator("input").focus()
    figure.page.keyboard.press("ArrowLeft")
    earlier = figure.evaluate(STATE)["pictures"]
    assert all(one != other for one, other in zip(before, earlier, strict=True))
    figure.locator("select").select_option("counting")
    assert all(one != other for one, other in zip(figure.evaluate(STATE)["pictures"], earlier, strict=True))


def test_the_pictures_of_the_front_page_are_below_1_MB():
    assert sum(file.stat().st_size for file in (SITE / "_images").glob("explorer-*.png")) < 1_000_000
