"""gated.yaml to a `SiteConfig`, or every reason why not at once.

Reads the file, and the secrets only to tell at the next load whether they have changed; one that cannot be
read is no error here. No device is asked.
Which adapters exist is the caller's knowledge; only those that the file names are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gated.config import models
from gated.config.errors import ConfigErrors, Path, Problem, UnknownDeviceType, dotted
from gated.config.rules import Finding, Parts, check, did_you_mean
from gated.config.secrets import fingerprint
from gated.config.site import SiteConfig
from gated.config.source import Source, parse, read
from gated.config.translate import findings
from gated.mqtt.settings import MqttSettings
from gated.ports import AdapterModule, ConfigError, DeviceConfig

LoadAdapter = Callable[[str], AdapterModule]
"""Gives the module `adapters.<type>`; raises UnknownDeviceType where there is none."""

_SECTIONS: dict[str, type[BaseModel]] = {
    "site": models.SiteInfo,
    "store": models.StoreSettings,
    "api": models.ApiSettings,
    "mqtt": MqttSettings,
    "log": models.LogSettings,
    "clock": models.ClockSettings,
    "policy": models.PolicySettings,
    "district": models.DistrictSettings,
    "defaults": models.Defaults,
}
_REQUIRED = ("site", "store", "grids", "entrances", "lanes", "devices")
_LISTS = ("grids", "entrances", "lanes", "devices")
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")

_Model = TypeVar("_Model", bound=BaseModel)


def load(path: FilePath, load_adapter: LoadAdapter) -> SiteConfig:
    """The configuration in `path`. Raises ConfigErrors with all problems, each with line and column.

    Relative paths in the file count from its own folder.
    """
    return _Loader(read(path), load_adapter, path.resolve().parent).site()


def loads(
    text: str, load_adapter: LoadAdapter, *, base: FilePath | None = None, name: str = "gated.yaml"
) -> SiteConfig:
    """As `load`, from text; `base` is the folder that relative paths count from (None: as they are)."""
    return _Loader(parse(text.encode(), name), load_adapter, base).site()


class _Loader:
    def __init__(self, source: Source, load_adapter: LoadAdapter, base: FilePath | None) -> None:
        self._source = source
        self._data: dict[str, Any] = source.data
        self._base = base
        self._load_adapter = load_adapter
        self._problems: list[Problem] = []
        self._adapters: dict[str, AdapterModule | None] = {}

    def site(self) -> SiteConfig:
        known = (*_SECTIONS, *_LISTS)
        for key in self._data:
            if key not in known and not key.startswith("x-"):  # x-...: a place for anchors
                self._note(Finding((key,), "unknown section", did_you_mean(key, known), "未知的配置段"))
        for key in _REQUIRED:
            if self._data.get(key) is None:
                self._note(Finding((key,), "is missing", f"add a section `{key}:`", "缺少必填的配置段"))
        sections = {
            name: self._section(name, model)
            for name, model in _SECTIONS.items()
            if self._data.get(name) is not None
        }
        defaults, district = sections.get("defaults"), sections.get("district")
        lane_defaults = (
            self._data["defaults"].get("lane") or {} if isinstance(defaults, models.Defaults) else {}
        )
        parts = Parts(
            grids=self._items("grids", models.GridConfig),
            entrances=self._items("entrances", models.EntranceConfig),
            lanes=self._items("lanes", models.LaneConfig, lane_defaults),
            devices=self._devices(),
            ids={name: self._ids(name) for name in _LISTS},
            told_lanes=district.lanes if isinstance(district, models.DistrictSettings) else (),
        )
        for finding in check(parts):
            self._note(finding)
        for name in ("grids", "lanes"):
            if self._data.get(name) == []:
                self._note(Finding((name,), "is empty", "a site has at least one", "不能为空"))
        if self._problems:
            raise ConfigErrors(self._problems)
        lists = {name: tuple(getattr(parts, name).values()) for name in _LISTS}
        config = SiteConfig.model_validate({**sections, **lists})
        config._secrets = {
            "mqtt": fingerprint(config.mqtt),
            "district": fingerprint(config.district),
            **{f"devices.{device.id}": fingerprint(device) for device in config.devices},
        }
        return config

    def _note(self, finding: Finding) -> None:
        mark = self._source.mark(finding.path)
        self._problems.append(
            Problem(
                self._source.name,
                mark.line,
                mark.column,
                dotted(finding.path),
                finding.message,
                finding.hint,
                finding.zh,
            )
        )

    def _section(self, name: str, model: type[BaseModel]) -> BaseModel | None:
        valid = self._validate(model, self._data[name], (name,))
        if isinstance(valid, models.StoreSettings) and valid.path is not None and self._base is not None:
            return valid.model_copy(update={"url": f"sqlite:///{_anchored_value(valid.path, self._base)}"})
        return valid

    def _validate(self, model: type[_Model], data: Any, at: Path) -> _Model | None:
        try:
            valid = model.model_validate(data)
            return valid if self._base is None else _anchored(valid, self._base)
        except ValidationError as error:
            for finding in findings(error, model, data, at):
                self._note(finding)
        except ConfigError as error:
            self._note(Finding(at, str(error)))
        return None

    def _list(self, name: str) -> list[Any]:
        items = self._data.get(name)
        if items is None:
            return []
        if not isinstance(items, list):
            if not any(problem.path == name for problem in self._problems):
                self._note(Finding((name,), "is not a list", "begin each item with `- `", "此处应为列表"))
            return []
        return items

    def _ids(self, name: str) -> list[tuple[int, str]]:
        return [
            (index, item["id"])
            for index, item in enumerate(self._list(name))
            if isinstance(item, dict) and isinstance(item.get("id"), str)
        ]

    def _items(
        self, name: str, model: type[_Model], defaults: Mapping[str, Any] | None = None
    ) -> dict[int, _Model]:
        found = {}
        for index, item in enumerate(self._list(name)):
            whole = {**defaults, **item} if defaults and isinstance(item, dict) else item
            valid = self._validate(model, whole, (name, index))
            if valid is not None:
                found[index] = valid
        return found

    def _devices(self) -> dict[int, DeviceConfig]:
        found = {}
        for index, item in enumerate(self._list("devices")):
            at: Path = ("devices", index)
            if not isinstance(item, dict):
                self._note(Finding(at, "is not a mapping (key: value)", "", "值的类型不对"))
                continue
            adapter = self._adapter(item.get("type"), at, has_type="type" in item)
            if adapter is None:
                continue
            valid = self._validate(adapter.Config, item, at)
            if valid is not None:
                found[index] = valid
        return found

    def _adapter(self, type_: object, at: Path, *, has_type: bool) -> AdapterModule | None:
        if not isinstance(type_, str) or not _TYPE.fullmatch(type_):
            message = "is no device type" if has_type else "is missing"
            hint = "say what speaks to the device: onvif, vzenith, webhook, modbus (docs/devices)"
            self._note(Finding((*at, "type"), message, hint, "缺少或无效的设备类型"))
            return None
        if type_ in self._adapters:
            adapter = self._adapters[type_]
            if adapter is None:
                self._note(Finding((*at, "type"), f"no adapter is called {type_!r}", "", "未知的设备类型"))
            return adapter
        self._adapters[type_] = None
        try:
            self._adapters[type_] = self._load_adapter(type_)
        except UnknownDeviceType as error:
            self._note(Finding((*at, "type"), str(error), did_you_mean(type_, error.known), "未知的设备类型"))
        except ImportError as error:
            message = f"the adapter {type_!r} cannot be loaded: {error}"
            self._note(Finding((*at, "type"), message, "install gated again, with all it depends on"))
        return self._adapters[type_]


def _anchored(section: _Model, base: FilePath) -> _Model:
    """The same section with every relative path in it made to count from `base`."""
    changed = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        after = _anchored_value(value, base)
        if after is not value:
            changed[name] = after
    return section.model_copy(update=changed) if changed else section


def _anchored_value(value: Any, base: FilePath) -> Any:
    if isinstance(value, FilePath):
        path = value.expanduser()
        return path if path.is_absolute() else base / path
    if isinstance(value, BaseModel):
        return _anchored(value, base)
    if isinstance(value, tuple):
        items = tuple(_anchored_value(item, base) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
