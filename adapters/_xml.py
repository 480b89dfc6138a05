"""XML from devices: no entities, no DOCTYPE, nothing from the network, bounded; namespaces ignored, for
firmware of one vendor uses several."""

from __future__ import annotations

from lxml import etree

MAX_XML = 256 * 1024


class Malformed(ValueError):
    """Not the XML that such a device sends."""


def parse(data: bytes) -> etree._Element:
    """The root element. Raises Malformed."""
    data = data.strip(b"\x00 \r\n\t")
    if len(data) > MAX_XML:
        raise Malformed("far larger than any such message")
    if b"<!" in data and (b"<!DOCTYPE" in data or b"<!ENTITY" in data):
        raise Malformed("XML with a document type is refused")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_comments=True,
        remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
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
        found = next((each for each in found if name(each) == step), None) if found is not None else None
    return found


def text(element: etree._Element, *path: str, limit: int = 128) -> str:
    """The printable text at a path, cut; "" if it is not there."""
    found = child(element, *path)
    value = found.text if found is not None and found.text else ""
    return "".join(c for c in value[:limit] if c.isprintable()).strip()


def every(element: etree._Element, local: str) -> list[etree._Element]:
    """All descendants with a local name, in order."""
    return [each for each in element.iter() if name(each) == local]
