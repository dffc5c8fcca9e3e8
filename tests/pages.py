"""What an HTML page does in a browser, as far as its text says."""

import base64
import hashlib
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
    *("html", "head", "meta", "title", "style", "body", "main", "nav", "section", "a"),
    *("h1", "h2", "h3", "h4", "p", "strong", "small", "code", "br", "span", "ul", "li"),
    *("details", "summary", "meter", "video"),
    *("dl", "dt", "dd", "div", "figure", "figcaption", "picture", "source", "img"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "id", "class", "scope"),
    *("aria-label", "aria-labelledby", "href", "src", "srcset", "media", "alt", "tabindex"),
    *("data-key", "controls", "muted", "loop", "playsinline", "preload", "value", "min", "max"),
}


# a section of the page, or a page or table beside it
_INSIDE = re.compile(r"#\w*|(\w+/|\.\./(validation\.history/)?)?\w+\.(html|csv)")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.text = ""
        self.style = ""
        self.script = ""
        self.scripts = 0
        self.policy = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag == "script":
            self.scripts += 1
        elif tag not in _TAGS or not given.keys() <= _ATTRIBUTES:
            self.faults.append(f"<{tag} {' '.join(given)}>")
        for image in ("src", "srcset"):
            if not given.get(image, "data:image/").startswith(("data:image/", "data:video/")):
                self.faults.append(f"{image} {given[image]}")
        if not _INSIDE.fullmatch(given.get("href", "#")):
            self.faults.append(f"href {given['href']}")
        if "http-equiv" in given:
            if given["http-equiv"] != "Content-Security-Policy":
                self.faults.append(f"http-equiv {given['http-equiv']}")
            self.policy = given["content"]

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
        if self._inside == "script":
            self.script += data
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
    digest = base64.b64encode(hashlib.sha256(reader.script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'" if reader.scripts else ""
    if reader.scripts > 1:
        found.append(f"{reader.scripts} scripts")
    if "default-src 'none'" not in reader.policy or (
        re.findall("script-src [^;]*", reader.policy) != [allowed] * reader.scripts
    ):
        found.append(f"the policy is {reader.policy!r}")
    return found


def shown(text: str) -> str:
    """The text that a page's reader sees, and its style."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.text
