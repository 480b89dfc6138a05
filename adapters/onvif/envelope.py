"""SOAP envelopes, both ways: requests as bytes, replies as checked lxml trees, faults as a dataclass.

Pure: no I/O, no clock, no randomness (times and nonces are arguments). Used for every ONVIF request, whether
its body was written here (events) or by onvif-zeep (device, relays, media). Replies come from devices that
may be broken or hostile: no DTD, no entities, no network, libxml2's own depth and text limits stay on.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from xml.sax.saxutils import escape

from lxml import etree

SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
DEVICE = "http://www.onvif.org/ver10/device/wsdl"
EVENTS = "http://www.onvif.org/ver10/events/wsdl"
WSNT = "http://docs.oasis-open.org/wsn/b-2"
SCHEMA = "http://www.onvif.org/ver10/schema"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE = _OASIS + "wssecurity-secext-1.0.xsd"
WSU = _OASIS + "wssecurity-utility-1.0.xsd"
DIGEST_TYPE = _OASIS + "username-token-profile-1.0#PasswordDigest"
BASE64_TYPE = _OASIS + "soap-message-security-1.0#Base64Binary"

ANONYMOUS = WSA + "/anonymous"
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,200}\?>")


class NotSoap(ValueError):
    """The bytes are no SOAP envelope; `html` where it is a web page, which means: no ONVIF at this path."""

    def __init__(self, why: str, *, html: bool = False) -> None:
        super().__init__(why)
        self.html = html


@dataclass(frozen=True, slots=True)
class Fault:
    """A SOAP fault. `codes`: the local names of its code and subcodes, outermost first; the reason is
    whatever the vendor wrote, often nothing."""

    codes: tuple[str, ...]
    reason: str

    @property
    def refused(self) -> bool:
        """Whether it is about credentials or permission. The subcodes differ per vendor (ter:NotAuthorized,
        wsse:FailedAuthentication, InvalidSecurity ...), and some say it in the reason alone."""
        words = " ".join((*self.codes[1:], self.reason)).lower()
        return any(
            sign in words for sign in ("authori", "authenti", "authority", "invalidsecurity", "failedcheck")
        )

    @property
    def unsupported(self) -> bool:
        """Whether the operation is not known at this service, so that it was certainly not carried out."""
        words = {code.lower() for code in self.codes}
        return bool(
            words & {"actionnotsupported", "unknownaction", "notsupported", "optionalactionnotimplemented"}
        )

    def __str__(self) -> str:
        return "/".join(self.codes) + (f": {self.reason}" if self.reason else "")


# --- requests ---------------------------------------------------------------------------------------------


def wsse_time(moment: datetime) -> str:
    """A Created of WS-Security: UTC with Z and whole milliseconds (zulu, or some devices refuse it)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def password_digest(nonce: bytes, created: str, password: str) -> str:
    """Base64(SHA-1(nonce + created + password)), UsernameToken Profile 1.0."""
    digest = hashlib.sha1(nonce + created.encode() + password.encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def security(username: str, password: str, *, created: str, nonce: bytes) -> str:
    """The WS-Security header with a digested password. `created`: on the device's clock (see `wsse_time`);
    `nonce`: 16 fresh random bytes."""
    return (
        f'<w:Security s:mustUnderstand="1" xmlns:w="{WSSE}" xmlns:u="{WSU}"><w:UsernameToken>'
        f"<w:Username>{escape(username)}</w:Username>"
        f'<w:Password Type="{DIGEST_TYPE}">{password_digest(nonce, created, password)}</w:Password>'
        f'<w:Nonce EncodingType="{BASE64_TYPE}">{base64.b64encode(nonce).decode()}</w:Nonce>'
        f"<u:Created>{created}</u:Created></w:UsernameToken></w:Security>"
    )


def addressing(action: str, to: str, message_id: str, references: Iterable[str] = ()) -> str:
    """WS-Addressing headers; `references`: the subscription's ReferenceParameters as XML (Axis wants them
    back as headers)."""
    return (
        f"<a:Action>{escape(action)}</a:Action><a:MessageID>{message_id}</a:MessageID>"
        f"<a:ReplyTo><a:Address>{ANONYMOUS}</a:Address></a:ReplyTo><a:To>{escape(to)}</a:To>{''.join(references)}"
    )


def envelope(body: str, *headers: str) -> bytes:
    """A SOAP 1.2 envelope around a body; headers as `security` and `addressing` make them."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{SOAP12}" xmlns:a="{WSA}">'
        f"<s:Header>{''.join(headers)}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


# --- replies ----------------------------------------------------------------------------------------------


def parse(body: bytes) -> etree._Element:
    """The envelope's root element. Raises NotSoap on anything that is not one well-formed SOAP envelope
    without a document type. The caller bounds the size."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text:
        raise NotSoap("an empty reply")
    head = text[:512].lower()
    if head.startswith(b"<!doctype html") or b"<html" in head:
        raise NotSoap("a web page instead of SOAP", html=True)
    if b"\0" in text[:64]:
        raise NotSoap("not in an encoding that contains ASCII")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise NotSoap("a document type, which SOAP forbids")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(text, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        again = _as_gb18030(text)
        if again is None:
            raise NotSoap(f"not well-formed XML: {str(error)[:200]}") from None
        try:
            root = etree.fromstring(again, parser)
        except (etree.XMLSyntaxError, ValueError):
            raise NotSoap(f"not well-formed XML: {str(error)[:200]}") from None
    # an encoding trick may have hidden the declaration from the search above
    if root is None or root.getroottree().docinfo.internalDTD is not None:
        raise NotSoap("a document type, which SOAP forbids")
    if local(root) != "Envelope":
        raise NotSoap(f"<{local(root)}> instead of a SOAP envelope", html=local(root).lower() == "html")
    return root


def _as_gb18030(text: bytes) -> bytes | None:
    """The same as UTF-8, where it is not UTF-8 but GB18030 whatever its declaration says: cameras sold in
    China write 京 so. None where that is no explanation."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return None
    try:
        decoded = text.decode("gb18030")
    except UnicodeDecodeError:
        return None
    return _DECLARATION.sub("", decoded, count=1).encode("utf-8")


def local(element: etree._Element) -> str:
    """The name without its namespace; namespaces differ between firmwares and prefixes mean nothing."""
    return _local(element.tag)


@lru_cache(maxsize=2048)  # half of the time of reading a reply went into this
def _local(tag: object) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def payload(root: etree._Element) -> etree._Element | None:
    """The first element in the envelope's body, or None."""
    for child in root:
        if local(child) == "Body":
            return next((each for each in child if isinstance(each.tag, str)), None)
    return None


def fault(root: etree._Element) -> Fault | None:
    """The envelope's fault (SOAP 1.2, or 1.1 as a few devices send), or None."""
    found = payload(root)
    if found is None or local(found) != "Fault":
        return None
    codes: list[str] = []
    reason = ""
    for element in found.iter():
        name = local(element)
        words = (element.text or "").strip()
        if name in ("Value", "faultcode") and words:
            code = words.rpartition(":")[2]
            if not codes or codes[-1] != code:
                codes.append(code)
        elif name in ("Text", "faultstring") and words and not reason:
            reason = words[:300]
    return Fault(tuple(codes[:6]) or ("Fault",), reason)


def child(element: etree._Element | None, *names: str) -> etree._Element | None:
    """The descendant reached through children of these local names."""
    for name in names:
        if element is None:
            return None
        element = next((each for each in element if local(each) == name), None)
    return element


def text_of(element: etree._Element | None, *names: str) -> str:
    """The stripped text of such a descendant, or an empty string."""
    found = child(element, *names)
    return "" if found is None else (found.text or "").strip()


def reference_headers(parameters: etree._Element | None) -> tuple[str, ...]:
    """ReferenceParameters of a subscription as header elements, marked as WS-Addressing demands."""
    if parameters is None:
        return ()
    made = []
    for each in parameters:
        copy = deepcopy(each)
        copy.set(f"{{{WSA}}}IsReferenceParameter", "true")
        copy.tail = None
        etree.cleanup_namespaces(copy)
        made.append(etree.tostring(copy, encoding="unicode"))
    return tuple(made)
