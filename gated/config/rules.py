"""What one section of gated.yaml alone cannot know: references, one owner for each device part, no circles.

Pure: sections in, problems out, each with the path of the value to change.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gated.config.errors import Path
from gated.config.models import EntranceConfig, GridConfig, LaneConfig
from gated.ports import DeviceConfig


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem without its place in the file yet."""

    path: Path
    message: str
    hint: str = ""
    zh: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The sections that are valid by themselves, by their index in the file, and every id that is written
    there (also of those that are not), so that one mistake is not reported again where it is referred to."""

    grids: Mapping[int, GridConfig]
    entrances: Mapping[int, EntranceConfig]
    lanes: Mapping[int, LaneConfig]
    devices: Mapping[int, DeviceConfig]
    ids: Mapping[str, list[tuple[int, str]]]
    told_lanes: Collection[str] = ()


def check(parts: Parts) -> Iterator[Finding]:
    """Every problem between sections."""
    for section, written in parts.ids.items():
        yield from _unique(section, written)
    known = {section: {id_ for _, id_ in written} for section, written in parts.ids.items()}
    yield from _grids(parts.grids, known["grids"])
    for index, entrance in parts.entrances.items():
        yield from _reference(("entrances", index, "grid"), entrance.grid, "grid", known["grids"])
    for index, lane in parts.lanes.items():
        yield from _reference(("lanes", index, "entrance"), lane.entrance, "entrance", known["entrances"])
        for path, device in _named_devices(index, lane):
            yield from _reference(path, device, "device", known["devices"])
    yield from _one_owner(parts.lanes)
    for lane_id in parts.told_lanes:
        yield from _reference(("district", "lanes", lane_id), lane_id, "lane", known["lanes"])
    for index, watching in parts.devices.items():
        for number, watch in enumerate(watching.watch):
            if watch.grid is not None:
                yield from _reference(
                    ("devices", index, "watch", number, "grid"), watch.grid, "grid", known["grids"]
                )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or what there is where nothing is close."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return ""
    more = ", ..." if len(names) > 12 else ""
    return f"there are: {', '.join(names[:12])}{more}"


def _unique(section: str, written: list[tuple[int, str]]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, id_ in written:
        if id_ in first:
            yield Finding(
                (section, index, "id"),
                f"the id {id_!r} is taken by {section}[{first[id_]}]",
                "give each its own id; ids are in records and topics, so rename the newer one",
                f"编号 {id_!r} 重复",
            )
        first.setdefault(id_, index)


def _reference(path: Path, id_: str, what: str, known: Collection[str]) -> Iterator[Finding]:
    if id_ not in known:
        yield Finding(
            path,
            f"no {what} has the id {id_!r}",
            did_you_mean(id_, known),
            f"没有编号为 {id_!r} 的{_ZH[what]}",
        )


_ZH = {"grid": "网格", "entrance": "出入口", "lane": "通道", "device": "设备"}


def _grids(grids: Mapping[int, GridConfig], known: Collection[str]) -> Iterator[Finding]:
    parents = {grid.id: grid.parent for grid in grids.values()}
    reported: set[str] = set()
    for index, grid in grids.items():
        if grid.parent is None:
            continue
        path: Path = ("grids", index, "parent")
        yield from _reference(path, grid.parent, "grid", known)
        trail = [grid.id]
        above: str | None = grid.parent
        while above is not None and above not in trail:
            trail.append(above)
            above = parents.get(above)
        if above == grid.id and not reported & set(trail):  # each circle once, at its first member
            reported.update(trail)
            circle = " -> ".join([*trail, grid.id])
            yield Finding(
                path, f"grids in a circle: {circle}", "one of them must have no parent", "网格层级成环"
            )


def _named_devices(index: int, lane: LaneConfig) -> Iterator[tuple[Path, str]]:
    for number, camera in enumerate(lane.cameras):
        yield ("lanes", index, "cameras", number), camera.device
    for part in ("barrier", "position", "presence", "fire"):
        ref = getattr(lane, part)
        if ref is not None:
            yield ("lanes", index, part, "device"), ref.device
    if lane.allow_list is not None:
        yield ("lanes", index, "allow_list"), lane.allow_list


@dataclass(frozen=True, slots=True)
class _Use:
    lane: str
    part: str
    path: Path


def _one_owner(lanes: Mapping[int, LaneConfig]) -> Iterator[Finding]:
    """A lane never borrows another lane's device: a camera channel, a barrier output and a contact each
    belong to one lane. Only the fire contact may be shared: one fire panel releases many lanes."""
    cameras: dict[tuple[str, str | None], _Use] = {}
    outputs: dict[tuple[str, str | None], _Use] = {}
    inputs: dict[tuple[str, str | None], _Use] = {}
    for index, lane in lanes.items():
        for number, camera in enumerate(lane.cameras):
            use = _Use(lane.id, "camera", ("lanes", index, "cameras", number))
            yield from _claim(cameras, camera.device, camera.channel, use, "channel")
        if lane.barrier is not None:
            use = _Use(lane.id, "barrier", ("lanes", index, "barrier"))
            yield from _claim(outputs, lane.barrier.device, lane.barrier.output, use, "output")
        for part in ("position", "presence", "fire"):
            ref = getattr(lane, part)
            if ref is not None and ref.input is not None:
                use = _Use(lane.id, part, ("lanes", index, part))
                yield from _claim(inputs, ref.device, ref.input, use, "input")


def _claim(
    taken: dict[tuple[str, str | None], _Use], device: str, port: str | None, use: _Use, what: str
) -> Iterator[Finding]:
    """Note that a port is used; a clash with an earlier use is a finding. No port means the whole device."""
    for (other_device, other_port), other in taken.items():
        if other_device != device or not (port == other_port or port is None or other_port is None):
            continue
        if use.part == other.part == "fire":
            continue
        shown = (
            f"{device!r}"
            if port is None and other_port is None
            else f"{device!r}, {what} {port or other_port!r},"
        )
        yield Finding(
            use.path,
            f"{shown} already is the {other.part} of lane {other.lane!r}",
            f"each {what} belongs to one lane and one purpose; name another {what}"
            + ("" if port and other_port else f", and give both their own `{what}:`"),
            f"设备 {device!r} 的同一端口已被通道 {other.lane!r} 使用",
        )
        break
    taken.setdefault((device, port), use)
