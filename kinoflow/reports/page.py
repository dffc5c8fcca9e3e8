"""HTML pages that stand alone: one file, no script, nothing from the network.

The pages are Jinja2 templates in templates/. All text that they are given is escaped.
"""

import base64
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
    found.filters |= {"cell": _cell, "data_uri": _data_uri}
    return found


def _cell(value: str | float) -> str:
    """A value as a table shows it: floats with one digit after the point, NaN as a dash."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value != value else f"{value:,.1f}"


def _data_uri(content: bytes, kind: str) -> str:
    """An image file as a URI that holds it; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
