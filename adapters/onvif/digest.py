"""HTTP Digest authentication (RFC 7616, and 2617 as cameras speak it): challenges in, Authorization out.
Pure but for the random client nonce, which is an argument."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

_PAIR = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(slots=True)
class Digest:
    """One challenge; `count` is how often its nonce was used. Texts are bytes read as Latin-1, as headers
    are: a realm may be Chinese."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: bool = False
    opaque: str = ""
    stale: bool = False
    count: int = 0

    def authorization(self, method: str, uri: str, username: str, password: str, cnonce: str) -> str:
        """The Authorization header for one request; every call uses the nonce once more."""
        self.count += 1
        username, password = (text.encode().decode("latin-1") for text in (username, password))
        base, session = self.algorithm.removesuffix("-sess"), self.algorithm.endswith("-sess")
        name = _ALGORITHMS[base]

        def h(text: str) -> str:
            return hashlib.new(name, text.encode("latin-1"), usedforsecurity=False).hexdigest()

        ha1 = h(f"{username}:{self.realm}:{password}")
        if session:
            ha1 = h(f"{ha1}:{self.nonce}:{cnonce}")
        ha2 = h(f"{method}:{uri}")
        nc = f"{self.count:08x}"
        response = h(
            f"{ha1}:{self.nonce}:{nc}:{cnonce}:auth:{ha2}" if self.qop else f"{ha1}:{self.nonce}:{ha2}"
        )
        parts = [
            f'username="{_quoted(username)}"',
            f'realm="{_quoted(self.realm)}"',
            f'nonce="{_quoted(self.nonce)}"',
            f'uri="{_quoted(uri)}"',
            f'response="{response}"',
            f"algorithm={self.algorithm}",
        ]
        if self.opaque:
            parts.append(f'opaque="{_quoted(self.opaque)}"')
        if self.qop:
            parts += ["qop=auth", f"nc={nc}", f'cnonce="{cnonce}"']
        elif session:
            parts.append(f'cnonce="{cnonce}"')
        return "Digest " + ", ".join(parts)


def challenge(headers: Sequence[str]) -> Digest | None:
    """The strongest Digest challenge among WWW-Authenticate headers that is understood, or None."""
    found: list[Digest] = []
    for header in headers:
        scheme, _, rest = header.strip().partition(" ")
        if scheme.lower() != "digest":
            continue
        parts = {
            name.lower(): quoted.replace('\\"', '"') or bare for name, quoted, bare in _PAIR.findall(rest)
        }
        algorithm = parts.get("algorithm", "MD5").upper().replace("-SESS", "-sess")
        qops = [each.strip().lower() for each in parts.get("qop", "").split(",") if each.strip()]
        if not parts.get("nonce") or algorithm.removesuffix("-sess") not in _ALGORITHMS:
            continue
        if qops and "auth" not in qops:
            continue
        found.append(
            Digest(
                realm=parts.get("realm", ""),
                nonce=parts["nonce"],
                algorithm=algorithm,
                qop=bool(qops),
                opaque=parts.get("opaque", ""),
                stale=parts.get("stale", "").lower() == "true",
            )
        )
    return max(found, key=lambda each: each.algorithm.startswith("SHA"), default=None)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
