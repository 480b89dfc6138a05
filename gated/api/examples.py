"""An example of each thing that clients send or get, for the OpenAPI document; tests check them."""

from __future__ import annotations

from typing import Any, Final

_PERMIT: Final = "01KAK7Q1MZ3S5W8T0V4X6Y9B2C"
_PASSAGE_ID: Final = "01KAK8R2NZ4T6X9V1W5Y7Z0C3D"
_NAMES: Final = {"zh": "东门", "en": "East gate"}

PASS_IN: Final[dict[str, Any]] = {
    "kind": "resident",
    "holder": {"name": "王小明", "phone": "13800000000", "dwelling_id": "d-0117"},
    "credentials": [{"kind": "plate", "value": "津A·12345"}],
    "entrances": None,
    "valid_from": "2026-11-21T00:00:00+08:00",
    "valid_until": "2036-11-21T00:00:00+08:00",
    "hours": [{"days": ["mon", "tue", "wed", "thu", "fri"], "since": "06:00", "until": "22:00"}],
    "limits": {},
    "attestations": [{"kind": "tenancy", "issued_on": "2026-11-01", "valid_until": "2027-10-31"}],
}

PASS_OUT: Final[dict[str, Any]] = {
    **PASS_IN,
    "id": _PERMIT,
    "credentials": [{"kind": "plate", "value": "津A12345"}],
    "valid_from": "2026-11-20T16:00:00.000Z",
    "valid_until": "2036-11-20T16:00:00.000Z",
    "state": "active",
    "version": 1,
    "created_at": "2026-11-21T01:16:03.123Z",
    "updated_at": "2026-11-21T01:16:03.123Z",
    "revoked_at": None,
    "revoked_reason": None,
    "warnings": [
        {
            "code": "credential-shared",
            "text": {
                "zh": "津A12345 也在其他有效出入证上：01KAK…",
                "en": "津A12345 is on another live pass too: 01KAK…",
            },
        }
    ],
}

OPENING: Final[dict[str, Any]] = {
    "id": "01KAK8R2P15V7Y0W2X6Z8A1D4E",
    "lane": "east-in",
    "cause": "override",
    "outcome": "confirmed",
    "requested_at": "2026-11-21T01:16:03.140Z",
    "finished_at": "2026-11-21T01:16:04.905Z",
    "passage_id": None,
    "person": "李红",
    "reason": "救护车进村",
    "detail": "",
}

PASSAGE: Final[dict[str, Any]] = {
    "id": _PASSAGE_ID,
    "lane": "east-in",
    "entrance": "east",
    "direction": "in",
    "at": "2026-11-21T01:16:03.020Z",
    "decided_at": "2026-11-21T01:16:03.123Z",
    "outcome": "grant",
    "reason": "valid",
    "explanation": {"zh": "出入证有效，放行", "en": "The pass is valid"},
    "rule_id": "valid",
    "pass_id": _PERMIT,
    "credential": {"kind": "plate", "value": "津A12345"},
    "raw": "津A12345",
    "confidence": 0.97,
    "device": "cam-east-in",
    "device_time": "2026-11-21T01:16:02.000Z",
    "received_at": "2026-11-21T01:16:03.118Z",
    "continues": None,
    "opening": {
        **OPENING,
        "id": _PASSAGE_ID,
        "cause": "decision",
        "passage_id": _PASSAGE_ID,
        "person": None,
        "reason": None,
    },
}

RECEIPT: Final[dict[str, Any]] = {
    "v": 1,
    "policy": "6b0f0f2a5f1d",
    "facts": {"lane.mode": "normal", "match.kind": "exact", "pass.live": True, "pass.here": True},
    "candidates": [
        {
            "pass": _PERMIT,
            "kind": "resident",
            "from": "2026-11-20T16:00:00Z",
            "until": "2036-11-20T16:00:00Z",
            "value": "津A12345",
        }
    ],
}
PASSAGE["receipt"] = RECEIPT

DWELLING: Final[dict[str, Any]] = {
    "id": "d-0117",
    "name": "东街12号",
    "grid": "g01",
    "tenure": "rented",
    "lease_until": "2027-10-31",
}

LIST_ENTRY: Final[dict[str, Any]] = {
    "list": "block",
    "credential": {"kind": "plate", "value": "津A12345"},
    "note": "多次冲岗",
    "added_at": "2026-11-21T01:16:03.123Z",
    "added_by": "李红",
    "until": None,
}

ALERT: Final[dict[str, Any]] = {
    "id": "01KAK8R2Q26W8Z1X3Y7A9B2E5F",
    "grid": "g01",
    "severity": "warning",
    "reason": "no_pass",
    "text": {"zh": "没有出入证，请核验", "en": "No pass: please check"},
    "state": "open",
    "raised_at": "2026-11-21T01:16:03.123Z",
    "updated_at": "2026-11-21T01:16:41.007Z",
    "count": 2,
    "lane": "east-in",
    "device": None,
    "passage_id": _PASSAGE_ID,
}

LANE: Final[dict[str, Any]] = {
    "id": "east-in",
    "entrance": "east",
    "direction": "in",
    "mode": "normal",
    "position": "closed",
    "barrier": "relay-east",
    "last_outcome": "grant",
    "last_passage_id": _PASSAGE_ID,
    "last_at": "2026-11-21T01:16:03.123Z",
    "waiting": 0,
    "occupied": False,
}

DEVICE: Final[dict[str, Any]] = {
    "id": "cam-east-in",
    "type": "vzenith",
    "online": True,
    "since": "2026-11-21T00:00:02.518Z",
    "last_event_at": "2026-11-21T01:16:03.118Z",
    "drift_s": -0.4,
    "error": None,
    "refused": False,
    "info": {"vendor": "VZ", "model": "R5", "firmware": "", "serial": "b6a3c2d1-0f4e5d6c"},
}

DEVICE_EVENT: Final[dict[str, Any]] = {
    "n": 17,
    "device": "cam-road",
    "what": "crossed",
    "at": "2026-11-21T16:40:03.118Z",
    "received_at": "2026-11-21T16:40:03.300Z",
    "details": {"target": "vehicle"},
    "picture": "/api/v1/device-events/17/picture",
}

ALLOW_LIST: Final[dict[str, Any]] = {
    "device": "cam-east-in",
    "wanted": 5204,
    "listed": 5204,
    "running": False,
    "done": 12,
    "total": 12,
    "added": 9,
    "removed": 3,
    "failed": [],
    "left_out": 0,
    "not_expressible": 318,
    "foreign": 2,
    "held_back": 0,
    "synced_at": "2026-11-21T01:16:03.118Z",
    "error": None,
}
ENTRANCE: Final[dict[str, Any]] = {"id": "east", "name": _NAMES, "grid": "g01"}
GRID: Final[dict[str, Any]] = {"id": "g01", "name": {"zh": "东片", "en": "East"}, "parent": None}

DECISION_IN: Final[dict[str, Any]] = {
    "lane": "east-in",
    "credential": {"kind": "plate", "value": "津A12345", "confidence": 0.93},
    "at": "2026-11-22T08:00:00+08:00",
}

DECISION_OUT: Final[dict[str, Any]] = {
    "outcome": "grant",
    "reason": "valid",
    "explanation": {"zh": "出入证有效，放行", "en": "The pass is valid"},
    "rule_id": "valid",
    "pass_id": _PERMIT,
    "candidates": [
        {
            "pass_id": _PERMIT,
            "kind": "resident",
            "state": "active",
            "valid_from": "2026-11-20T16:00:00.000Z",
            "valid_until": "2036-11-20T16:00:00.000Z",
            "entrances": None,
            "distance": 0.0,
            "edits": "",
            "value": "津A12345",
        }
    ],
}
