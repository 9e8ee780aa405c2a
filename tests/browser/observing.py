"""What is looked for on a page: by axe-core, by measure, and in all that the browser asks for and says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

AXE = Axe().axe_script
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
COLOURS = ("color-contrast", "link-in-text-block")
"""All rules of axe that look at colours."""
FLOWING = (*COLOURS, "target-size", "scrollable-region-focusable", "css-orientation-lock", "meta-viewport")
"""All that can find something else where the page flows differently."""

MEASURED = """() => {
  const shown = [...document.querySelectorAll('a, button, input, select, summary, textarea')]
    .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest('.trap, .skip'));
  const small = shown.filter((one) => {
    const target = one.matches('.check input') ? one.closest('label') : one;
    const { width, height } = target.getBoundingClientRect();
    // A link within a sentence is as high as its line (WCAG 2.5.8, inline).
    const inline = one.matches('a') && getComputedStyle(one).display === 'inline'
      && [...one.parentElement.childNodes].some((near) => near !== one && near.textContent.trim());
    return !inline && !one.closest('.cards') && (width < 24 || height < 24);
  });
  return {
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    small: small.map((one) => one.outerHTML.slice(0, 120)),
  };
}"""


def violations(page: Page, rules: Sequence[str] = (), without: str = "") -> list[str]:
    """What axe-core finds: rule, element, why; by all rules of the tags above, or by these; not in ``without``."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": list(TAGS)}
    # The digest in the preview's frame is a mail: nothing can run in it, also not axe.
    options = {"runOnly": only, "iframes": False, "resultTypes": ["violations"]}
    context = {"include": [["html"]], "exclude": [[without]] if without else []}
    found = page.evaluate("([context, options]) => axe.run(context, options)", [context, options])
    return [
        f"{one['id']}: {node['html'][:150]} ({node['failureSummary']})"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def too_wide_or_small(page: Page) -> dict[str, Any]:
    """How many pixels the page is wider than the screen, and which targets are less than 24 pixels wide or high."""
    measured: dict[str, Any] = page.evaluate(MEASURED)
    return measured


@dataclass
class Observer:
    """All that a browser asks for and complains of, until it is cleared."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def clear(self) -> None:
        self.requests.clear()
        self.complaints.clear()

    def watch(self, context: BrowserContext) -> Observer:
        context.on("request", self._request)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        return self

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        # That a page has another status than 200 is meant.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def elsewhere(self, url: str) -> list[str]:
        """What was asked of anybody else than the site at ``url``."""
        return [one for one in self.requests if not one.startswith((f"{url}/", "data:", "blob:", "about:"))]
