"""HTML pages that stand alone: one file, nothing from the network.

The pages are Jinja2 templates in templates/. All text that they are given is escaped.
"""

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: the name of a file in templates/, such as "leaks.html".
        **values: what the template shows. Strings are text, never markup: they are escaped.

    Raises jinja2.UndefinedError if the template asks for a value that is not given.
    """
    return environment().get_template(template).render(values)


@cache
def environment() -> "Environment":
    """The Jinja2 environment of all pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("kinoflow.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"cell": _cell, "data_uri": _data_uri, "sha256": _sha256}
    return found


def _cell(value: str | float) -> str:
    """A value as a table shows it: floats with one digit after the point, NaN as a dash."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value != value else f"{value:,.1f}"


def _data_uri(content: bytes, kind: str) -> str:
    """A file as a URI that holds it; `kind` is its media type, such as image/jpeg."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _sha256(script: str) -> str:
    """How a Content-Security-Policy names a script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
