"""HTML pages that stand alone: one file, no script, nothing from the network.

All text is escaped here. Functions that return markup say so, and take markup only as `body`.
"""

import base64
import string
from collections.abc import Iterable, Sequence
from html import escape

_PAGE = string.Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none';
 form-action 'none'">
<title>$title</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: #1b1f24; background: #fff; max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: .75rem; border-top: 1px solid #d8dee4; }
p { margin: .5rem 0; max-width: 44rem; }
nav { margin: .75rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
a { color: #0b57a4; }
img { display: block; max-width: 100%; height: auto; }
figure { margin: 1rem 0; }
figcaption { color: #57606a; font-size: .875rem; }
dl { display: flex; flex-wrap: wrap; gap: .75rem 2.25rem; margin: 1.25rem 0; }
dt { color: #57606a; font-size: .875rem; }
dd { margin: 0; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.columns { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: flex-start; }
table { border-collapse: collapse; font-size: .875rem; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: .25rem; }
th, td { padding: .25rem 1.25rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e5e9ed; }
thead th { border-bottom: 2px solid #afb8c1; vertical-align: bottom; }
tbody th { font-weight: 400; min-width: 8rem; max-width: 22rem; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.strips { display: grid; grid-template-columns: repeat(auto-fill, minmax(27rem, 1fr));
  gap: .25rem 1.5rem; }
.strips figure { margin: .5rem 0; min-width: 0; }
.strips img { margin-top: 3px; }
.strips figcaption { color: inherit; overflow-wrap: anywhere; }
@media (max-width: 30rem) { .strips { grid-template-columns: 1fr; } }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def document(title: str, body: str) -> str:
    """The whole page, as markup."""
    return _PAGE.substitute(title=escape(title), body=body)


def contents(sections: Iterable[tuple[str, str]]) -> str:
    """Markup of all sections, each a heading and its body, under links to them."""
    sections = list(sections)
    links = "".join(
        f'<a href="#s{number}">{escape(heading)}</a>'
        for number, (heading, _) in enumerate(sections)
    )
    parts = "\n".join(
        f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(heading)}</h2>\n'
        f"{body}\n</section>"
        for number, (heading, body) in enumerate(sections)
    )
    return f'<nav aria-label="Sections">{links}</nav>\n{parts}'


def paragraph(text: str) -> str:
    """Markup of a paragraph."""
    return f"<p>{escape(text)}</p>"


def facts(values: Iterable[tuple[str, str]]) -> str:
    """Markup of names and their values, large."""
    pairs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values
    )
    return f"<dl>{pairs}</dl>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str | float]], caption: str = "") -> str:
    """Markup of a table; the first cell of a row names it, and numbers stand to the right.

    Floats are shown with one digit after the point, NaN as a dash.
    """
    rows = list(rows)
    numbers = [bool(rows) and not isinstance(cell, str) for cell in (rows or [columns])[0]]
    kinds = [' class="number"' if number else "" for number in numbers]
    head = "".join(
        f'<th scope="col"{kind}>{escape(column)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    body = ""
    for first, *rest in rows:
        cells = "".join(
            f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(rest, kinds[1:], strict=True)
        )
        body += f'<tr><th scope="row">{_cell(first)}</th>{cells}</tr>\n'
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def columns(parts: Iterable[str]) -> str:
    """Markup of parts, themselves markup, side by side where there is room."""
    return f'<div class="columns">{"".join(parts)}</div>'


def picture(content: bytes, alt: str, caption: str = "") -> str:
    """Markup of a PNG file within the page; `alt` says what it shows to who cannot see it."""
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{_image(content, 'png', alt)}{note}</figure>"


def strips(rows: Iterable[tuple[str, Sequence[bytes], str]]) -> str:
    """Markup of small pictures under their names: name, JPEG files, and what they show."""
    figures = "\n".join(
        f"<figure><figcaption>{escape(name)}</figcaption>"
        f"{''.join(_image(content, 'jpeg', alt) for content in contents)}</figure>"
        for name, contents, alt in rows
    )
    return f'<div class="strips">{figures}</div>'


def _image(content: bytes, kind: str, alt: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{data}">'


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value != value else f"{value:,.1f}"
