"""`docs/asyncapi.yaml` as a check: which schema belongs to a topic, and whether a payload fits it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "asyncapi.yaml"
_URI = "urn:asyncapi"


class Contract:
    """The document. `check` raises AssertionError for a topic or payload that it does not describe."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
        resource = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URI, resource)
        self._channels = [
            (self._pattern(channel["address"]), name) for name, channel in self.document["channels"].items()
        ]

    @staticmethod
    def _pattern(address: str) -> re.Pattern[str]:
        parts = re.split(r"\{\w+\}", address)
        last = ".+" if address.endswith("/replies/{name}") else None
        body = "[^/]+".join(re.escape(part) for part in parts)
        if last is not None:
            body = re.escape("gated/") + "[^/]+" + re.escape("/replies/") + last
        return re.compile(body)

    def channel(self, topic: str) -> str:
        """The name of the channel that `topic` belongs to."""
        found: list[str] = [name for pattern, name in self._channels if pattern.fullmatch(topic)]
        assert len(found) == 1, f"{topic} is described by {found or 'no channel'}"
        return found[0]

    def schema_names(self, channel: str) -> list[str]:
        messages = self.document["channels"][channel]["messages"].values()
        return [str(message["$ref"]).rsplit("/", 1)[1] for message in messages]

    def errors(self, message: str, instance: object) -> list[str]:
        """What is wrong with `instance` as the payload of `message`."""
        reference = {"$ref": f"{_URI}#/components/messages/{message}/payload"}
        validator = Draft202012Validator(reference, registry=self._registry)
        return [error.message for error in validator.iter_errors(instance)]

    def check(self, topic: str, payload: bytes, *, retain: bool | None = None) -> None:
        """`retain`: whether it was sent retained; None where that cannot be seen."""
        channel = self.channel(topic)
        if channel == "availability" and payload == b"":
            return  # a device that is no longer configured
        names = self.schema_names(channel)
        plain = names == ["presence"]
        instance = payload.decode() if plain else json.loads(payload)
        trials = {name: self.errors(name, instance) for name in names}
        assert any(not errors for errors in trials.values()), f"{topic}: {instance} {trials}"
        if retain is not None:
            binding = self.document["channels"][channel]["bindings"]["mqtt"]["$ref"].rsplit("/", 1)[1]
            assert retain == (binding == "retained"), f"{topic}: retain {retain}"
