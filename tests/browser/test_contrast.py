"""Icons and signs of the theme, which axe-core does not measure: enough contrast on both grounds."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from tests.browser.looking import LogIn, choose_theme
from tests.browser.shops import make_shop

pytestmark = pytest.mark.django_db(transaction=True)
FAINT = """() => {
  const dot = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d", {willReadFrequently: true});
  const pixel = (...colors) => {
    dot.clearRect(0, 0, 1, 1);
    for (const color of colors) { dot.fillStyle = color; dot.fillRect(0, 0, 1, 1); }
    return [...dot.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => { one /= 255; return one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = (node) => node ? [...grounds(node.parentElement), getComputedStyle(node).backgroundColor] : ["#fff"];
  return [...document.querySelectorAll(".material-symbols-outlined")].filter((icon) => icon.checkVisibility()).map((icon) => {
    const under = grounds(icon), [one, other] = [light(pixel(...under)), light(pixel(...under, getComputedStyle(icon).color))];
    return [icon.textContent.trim(), (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
  });
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_icons_of_a_list_can_be_seen(page: Page, transactional_db: None, live_server: LiveServer, log_in: LogIn, theme: str) -> None:
    make_shop(admin="kim@example.com", managers=())
    choose_theme(page, theme)
    log_in(page)
    page.goto(f"{live_server.url}{reverse('admin:tenancy_membership_changelist')}?o=1")

    seen = page.evaluate(FAINT)

    assert {"add", "search", "filter_list"} <= {name for name, _ in seen}
    assert [(name, round(contrast, 2)) for name, contrast in seen if contrast < 4.5] == []
