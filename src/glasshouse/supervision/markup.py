"""HTML built from text: whatever is not markup already is escaped, so that nothing in a file can become markup."""

from html import escape


class Markup(str):
    """HTML that is safe to stand in a page."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | bool) -> Markup:
    """An element. An attribute's underscores stand for hyphens (`data_state`), a last one only avoids a keyword."""
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def _attribute(name: str, value: str | bool) -> str:
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{escape(value)}"'


def join(*children: str) -> Markup:
    """Markup and text, one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child, quote=False) for child in children))


def lines(*children: str) -> Markup:
    """As `join`, a line each: for people who read the source of a page."""
    return Markup("\n".join(join(child) for child in children))
