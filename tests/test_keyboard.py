"""The built site for those who read it with the keyboard, on a phone's width, or with motion reduced."""

import re

import pytest
from conftest import settle, violations, visits
from playwright.sync_api import expect

import notebooks

SITE = notebooks.ROOT / "_build" / "html" / "book"
LANDING, CHAPTER, GALLERY = "intro.html", "foundations/elbo.html", "reference/explorers.html"


@pytest.fixture
def opened(browser):
    """Return a function that opens a page of the site, with motion reduced, so that each key has its end."""
    with visits(browser, reduced_motion="reduce") as visit:

        def open_page(name, width=1280, scheme="light"):
            if not (SITE / name).exists():
                pytest.fail(f"{name} is not built; run `make book` first", pytrace=False)
            return visit((SITE / name).as_uri(), width, scheme)

        yield open_page


def is_focused(place) -> bool:
    return place.evaluate("node => node === document.activeElement")


# What stands out of the element that has the focus: its ring, against what is behind it (WCAG 2.4.7, 1.4.11).
STOP = r"""
async () => {
  for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);  // until it is painted
  const node = document.activeElement;
  if (node === document.body || node === document.documentElement) return null;
  (window.visited ??= new Set()).add(node);
  const style = getComputedStyle(node), box = node.getBoundingClientRect(), trouble = [];
  const rgba = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const luminance = ({ rgb }) => rgb.map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const grounds = [];  // its own, where the ring lies inside, and that of what it stands on
  for (let up = node; up && grounds.length < 2; up = up.parentElement) {
    const ground = rgba(getComputedStyle(up).backgroundColor);
    if (ground.a === 1) grounds.push(luminance(ground));
  }
  const rings = [];
  for (const part of [style, getComputedStyle(node, "::after")]) {
    const { outlineStyle, outlineWidth, outlineColor, boxShadow } = part;
    if (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) rings.push(rgba(outlineColor));
    for (const shadow of boxShadow.matchAll(/(rgba?\([^)]+\)) 0px 0px 0px (\d+)px/g))
      if (Number(shadow[2]) >= 2) rings.push(rgba(shadow[1]));
  }
  const most = Math.max(0, ...rings.filter(({ a }) => a === 1)
    .map((ring) => Math.max(...grounds.map((ground) => contrast(luminance(ring), ground)))));
  if (most < 3) trouble.push(`ring ${most.toFixed(1)}:1`);
  if (node.tabIndex > 0) trouble.push("comes out of turn");
  if (box.width < 1 || box.height < 1) trouble.push("has no size");
  const isInside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  if (!isInside) trouble.push("out of sight");
  if (!node.checkVisibility({ opacityProperty: true })) trouble.push("cannot be seen");
  return trouble.map((what) => `${what}: ${node.cloneNode().outerHTML} ${node.textContent.trim()}`);
}
"""
MISSED = """
() => [...document.querySelectorAll(".vae-explorer")].flatMap((explorer) =>
  [...explorer.querySelectorAll("canvas[tabindex], button:enabled, input:enabled:not([type=radio])")]
    .filter((node) => node.checkVisibility() && !window.visited.has(node)).map((node) => node.outerHTML))
"""


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        (LANDING, 1280, "light"),
        (LANDING, 390, "dark"),
        (CHAPTER, 390, "light"),
        (GALLERY, 1280, "light"),
    ],
)
def test_tab_leads_through_the_whole_page_and_each_stop_shows_itself(opened, name, width, scheme):
    tab = opened(name, width, scheme)
    trouble, stops = [], 0
    while stops < 600:
        tab.keyboard.press("Tab")
        if (found := tab.evaluate(STOP)) is None:
            break
        stops += 1
        trouble += found
    assert 20 < stops < 600, "there is no way out"
    assert trouble == []
    assert tab.locator(".vae-explorer").count() == tab.locator("script[type$='widget-view+json']").count() > 0
    assert tab.evaluate(MISSED) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_first_stop_skips_to_the_text(opened, width):
    tab = opened(CHAPTER, width)
    tab.keyboard.press("Tab")
    assert "Skip to main content" in tab.evaluate("document.activeElement.textContent")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("!!document.activeElement.closest('main')")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("menu", ["download", "source"])
def test_menus_open_and_close_by_keys(opened, menu, width):
    tab = opened(CHAPTER, width)
    button = tab.locator(f".dropdown-{menu}-buttons button.dropdown-toggle")
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.matches('.dropdown-menu.show .dropdown-item')")
    tab.keyboard.press("Escape")
    assert button.get_attribute("aria-expanded") == "false"
    assert is_focused(button)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_search_gives_the_focus_back(opened, width):
    tab = opened(CHAPTER, width)
    for button, key in [(".theme-switch-button", "Control+k"), (".search-button__button", "Enter")]:
        place = tab.locator(f"{button}:visible").first
        place.focus()
        tab.keyboard.press(key)
        assert tab.evaluate("document.activeElement.type") == "search"
        tab.keyboard.press("Escape")
        assert tab.locator("dialog[open]").count() == 0
        assert is_focused(place)


def test_on_a_phone_the_contents_are_a_dialog_and_give_the_focus_back(opened):
    tab = opened(CHAPTER, 390)
    toggle = tab.locator(".primary-toggle")
    toggle.focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("!!document.activeElement.closest('dialog[open]')")
    tab.keyboard.press("Escape")
    assert tab.locator("dialog[open]").count() == 0
    assert is_focused(toggle)


@pytest.mark.parametrize("button", [".theme-switch-button", ".primary-toggle"])
def test_a_button_pressed_by_a_key_keeps_the_focus(opened, button):
    tab = opened(CHAPTER)
    place = tab.locator(button)
    place.focus()
    tab.keyboard.press("Enter")
    assert is_focused(place)


def test_folded_code_opens_by_a_key(opened):
    tab = opened(CHAPTER)
    summary = tab.locator("article details.hide > summary").first
    summary.focus()
    tab.keyboard.press("Enter")
    assert summary.evaluate("node => node.parentElement.open")


OUT_OF_REACH = """
() => [...document.querySelectorAll("main *")]
  .filter((node) => node.scrollWidth > node.clientWidth + 1)
  .filter((node) => /auto|scroll/.test(getComputedStyle(node).overflowX))
  .filter((node) => node.tabIndex < 0 && !node.querySelector("[tabindex='0']"))
  .map((node) => `${node.tagName} ${node.id}`)
"""


@pytest.mark.parametrize("name", [CHAPTER, "reference/notation.html"])
def test_what_scrolls_sideways_on_a_phone_scrolls_by_keys(opened, name):
    tab = opened(name, 390)
    tab.wait_for_function(f"() => ({OUT_OF_REACH.strip()})().length === 0")  # they are measured bit by bit
    if name == CHAPTER:
        figure = tab.locator("figure[tabindex='0']").first
        figure.press("ArrowRight")
        tab.wait_for_function("figure => figure.scrollLeft > 0", arg=figure.element_handle())
        tab.set_viewport_size({"width": 1280, "height": 900})
        expect(tab.locator("figure[tabindex]"), "no stop where nothing scrolls").to_have_count(0)


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [(CHAPTER, 390, "dark"), (GALLERY, 390, "light"), (GALLERY, 1280, "dark")],
)
def test_no_violation_when_all_is_open_and_alive(opened, name, width, scheme):
    tab = opened(name, width, scheme)
    for place in tab.locator(".vae-live").all():
        place.scroll_into_view_if_needed()
        place.locator(".vae-explorer").wait_for()
    tab.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    settle(tab)
    assert violations(tab) == []


def test_nothing_moves_where_stillness_is_asked_for(opened):
    tab = opened(LANDING)
    assert tab.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    moves = tab.evaluate(
        """() => [...document.querySelectorAll("*")].map((node) => getComputedStyle(node))
          .flatMap((style) => [style.transitionDuration, style.animationDuration])"""
    )
    seconds = [float(t) for text in moves for t in re.findall(r"([\de.+-]+)s", text)]
    assert max(seconds) < 0.001
