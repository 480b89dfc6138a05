"""XML from devices: no entities, no DOCTYPE, nothing from the network, bounded; namespaces ignored, for
firmware of one vendor uses several."""

from __future__ import annotations

from lxml import etree

MAX_XML = 256 * 1024


# one for all: making it takes longer than to parse an alert. Only the event loop's thread parses.
_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    huge_tree=False,
    load_dtd=False,
    remove_comments=True,
    remove_pis=True,
)


class Malformed(ValueError):
    """Not the XML that such a device sends."""


def parse(data: bytes) -> etree._Element:
    """The root element. Raises Malformed."""
    data = data.strip(b"\x00 \r\n\t")
    if len(data) > MAX_XML:
        raise Malformed("far larger than any such message")
    if b"<!" in data and (b"<!DOCTYPE" in data or b"<!ENTITY" in data):
        raise Malformed("XML with a document type is refused")
    try:
        root = etree.fromstring(data, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Malformed(f"not XML: {str(error)[:120]}") from None
    if root is None:
        raise Malformed("empty")
    return root


def name(element: etree._Element) -> str:
    """The local name of an element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def child(element: etree._Element, *path: str) -> etree._Element | None:
    """The first element at a path of local names, or None."""
    found: etree._Element | None = element
    for step in path:
        if found is None:
            return None
        for each in found:
            tag = each.tag
            if isinstance(tag, str) and (tag == step or tag.endswith("}" + step)):
                found = each
                break
        else:
            return None
    return found


def text(element: etree._Element, *path: str, limit: int = 128) -> str:
    """The printable text at a path, cut; "" if it is not there."""
    found = child(element, *path)
    return "" if found is None else _clean(found.text, limit)


def texts(element: etree._Element, limit: int = 128) -> dict[str, str]:
    """The texts of the children of an element, by local name; of several of a name, the first."""
    found: dict[str, str] = {}
    for each in element:
        tag = each.tag
        if isinstance(tag, str):
            found.setdefault(tag.rpartition("}")[2], _clean(each.text, limit))
    return found


def _clean(value: str | None, limit: int) -> str:
    if not value:
        return ""
    value = value[:limit]
    return (value if value.isprintable() else "".join(c for c in value if c.isprintable())).strip()


def every(element: etree._Element, local: str) -> list[etree._Element]:
    """All descendants with a local name, in order."""
    return [each for each in element.iter() if name(each) == local]
