"""What an HTML page does in a browser, as far as its text says."""

import re
from html.parser import HTMLParser

# names that a page would obey, each in another place of it
HOSTILE = [
    "<img src=x onerror=alert(1)>.avi",
    '"><script src=//evil.example></script>',
    "</title></style><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "${x} $x {{7*7}} %(x)s &lt;b&gt;",
    "<style>@import '//evil.example'</style>",
    "javascript:alert(1)",
]

# what kinoflow's own pages are made of
_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "nav", "section", "a"),
    *("dl", "dt", "dd", "div", "figure", "figcaption", "picture", "source", "img"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "id", "class", "scope"),
    *("aria-label", "aria-labelledby", "href", "src", "srcset", "media", "alt"),
}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.text = ""
        self.style = ""
        self.policy = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag not in _TAGS or not given.keys() <= _ATTRIBUTES:
            self.faults.append(f"<{tag} {' '.join(given)}>")
        for image in ("src", "srcset"):
            if not given.get(image, "data:image/").startswith("data:image/"):
                self.faults.append(f"{image} {given[image]}")
        if not given.get("href", "#").startswith("#"):
            self.faults.append(f"href {given['href']}")
        if "http-equiv" in given:
            if given["http-equiv"] != "Content-Security-Policy":
                self.faults.append(f"http-equiv {given['http-equiv']}")
            self.policy = given["content"]

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def faults(text: str) -> list[str]:
    """What in a page is none of kinoflow's markup, runs or leads outside; none for a good one."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    found = reader.faults
    if re.search(r"@import|url\(|expression\(", reader.style):
        found.append("the style brings something from outside")
    if "default-src 'none'" not in reader.policy or "script-src" in reader.policy:
        found.append(f"the policy is {reader.policy!r}")
    return found


def shown(text: str) -> str:
    """The text that a page's reader sees, and its style."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.text
