"""What each event topic means: tables only, from the wire facts of real devices. Pure data.

Topics are compared by their local names (`tns1:Device/tnsaxis:IO/Port` is `Device/IO/Port`), because prefixes
are the device's own choice. `docs/devices/onvif.md` lists the same tables for people.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlateTopic:
    """Where the parts of a plate read are in one topic. Item names are compared without case; `scale`
    divides the confidence (100 where the device counts to a hundred)."""

    topic: str
    plate: str = "PlateNumber"
    confidence: str = "Likelihood"
    scale: float = 1.0
    key: str | None = None
    channel: str | None = None
    direction: str | None = None


PLATES: tuple[PlateTopic, ...] = (
    # Profile M: ElementItems LicensePlateInfo and VehicleInfo
    PlateTopic("RuleEngine/Recognition/LicensePlate", direction="Direction"),
    # Hikvision: likelihood 0-100, sent as a property that is Changed for every vehicle
    PlateTopic(
        "RuleEngine/VehicleDetector/Vehicle",
        scale=100,
        channel="VehicleLaneNumber",
        direction="VehicleDirection",
    ),
    # Axis License Plate Verifier: repeats (new, update, lost) with the same carID
    PlateTopic(
        "CameraApplicationPlatform/ALPV.AllPlates",
        plate="text",
        confidence="confidence",
        key="carID",
        direction="carMoveDirection",
    ),
    # older Axis application of the same vendor
    PlateTopic(
        "CameraApplicationPlatform/LPR",
        plate="text",
        confidence="confidence",
        key="carID",
        direction="carMoveDirection",
    ),
    # Milesight
    PlateTopic("RuleEngine/LicensePlateDetector/LicensePlate", confidence="Confidence"),
)

# what a device says when it saw a vehicle and no plate
NO_PLATE = frozenset(
    {
        "",
        "-",
        "--",
        "unknown",
        "unlicensed",
        "none",
        "noplate",
        "no plate",
        "_无_",
        "无",
        "无车牌",
        "无牌车",
        "未识别",
    }
)

# path -> what; the state is the boolean among the data items, absent means that it happened just now
OBSERVED: dict[str, str] = {
    "RuleEngine/LineDetector/Crossed": "crossed",
    "RuleEngine/LineCrossDetector/LineCross": "crossed",
    "RuleEngine/CellMotionDetector/LineCross": "crossed",
    "RuleEngine/FieldDetector/ObjectsInside": "inside",
    "RuleEngine/FieldDetector/ObjectIsLoitering": "loitering",
    "RuleEngine/IntrusionDetector/Intrusion": "inside",
    "RuleEngine/CellMotionDetector/Intrusion": "inside",
    "RuleEngine/CellMotionDetector/Motion": "motion",
    "RuleEngine/MotionRegionDetector/Motion": "motion",
    "RuleEngine/CellMotionDetector/Tamper": "tamper",
    "RuleEngine/CellMotionDetector/People": "person",
    "RuleEngine/PeopleDetector/People": "person",
    "RuleEngine/MyRuleDetector/PeopleDetect": "person",
    "RuleEngine/MyRuleDetector/VehicleDetect": "vehicle",
    "RuleEngine/MyRuleDetector/Visitor": "visitor",
    "RuleEngine/TamperDetector/Tamper": "tamper",
    "UserAlarm/IVA/HumanShapeDetect": "person",
    "UserAlarm/IllegalAccess": "illegal_access",
    "VideoAnalytics/MaskAlarm": "tamper",
    "Device/Casing/Open": "tamper",
    "Device/Sensor/PIR": "motion",
}
# the same, by the beginning of the path: a service name may follow (`.../ImagingService`)
OBSERVED_UNDER: dict[str, str] = {
    "VideoSource/MotionAlarm": "motion",
    "VideoSource/ImageTooDark": "dark",
    "VideoSource/ImageTooBright": "bright",
    "VideoSource/ImageTooBlurry": "blurred",
    "VideoSource/GlobalSceneChange": "scene_change",
    "VideoSource/SignalLoss": "video_loss",
    "VideoSource/Tampering": "tamper",
    "Device/HardwareFailure": "fault",
    "Device/Network": "network_fault",
    "CameraApplicationPlatform/VMD": "motion",
    "CameraApplicationPlatform/FenceGuard": "crossed",
    "CameraApplicationPlatform/ObjectAnalytics": "motion",
}

# path -> (names of the token item, prefix of the input's name)
INPUTS: dict[str, tuple[tuple[str, ...], str]] = {
    "Device/Trigger/DigitalInput": (("InputToken", "Token", "Source"), ""),
    "Device/Trigger/AlarmIn": (("AlarmInToken", "InputToken", "Token"), ""),
    "Device/IO/Port": (("port",), ""),
    "Device/IO/VirtualPort": (("port",), "virtual:"),
    "Device/Trigger/Relay": (("RelayToken", "RelayInputToken", "Token"), "relay:"),
}

ACCESS: dict[str, str] = {
    "AccessGranted": "access_granted",
    "AccessTaken": "access_taken",
    "AccessNotTaken": "access_not_taken",
    "Denied": "access_denied",
    "Duress": "duress",
    "Request": "access_request",
}

# Door/State/<name> -> state value -> (what, active); DoorPhysicalState is a position instead
DOOR: dict[str, dict[str, tuple[str, bool]]] = {
    "DoorAlarm": {
        "normal": ("door_alarm", False),
        "doorforcedopen": ("door_forced", True),
        "dooropentoolong": ("door_open_too_long", True),
    },
    "DoorTamper": {"notintamper": ("door_tamper", False), "tamperdetected": ("door_tamper", True)},
    "DoorFault": {"notinfault": ("door_fault", False), "faultdetected": ("door_fault", True)},
}
# states of a door that are told as they are, in `details`
DOOR_STATES: dict[str, str] = {
    "DoorMode": "door_mode",
    "LockPhysicalState": "lock_state",
    "DoubleLockPhysicalState": "lock_state",
}

# beginnings of paths that say nothing about a gate; counted, never lost silently
IGNORED: dict[str, str] = {
    "Monitoring": "the device's own load and uptime; its clock is measured directly",
    "Configuration": "somebody changed the camera's video set-up",
    "RecordingConfig": "recording on the device",
    "RecordingHistory": "recording on the device",
    "Media": "video profiles",
    "Media2": "video profiles",
    "PTZController": "the camera moved",
    "AudioSource": "sound",
    "AudioAnalytics": "sound",
    "Advancedsecurity": "certificates on the device",
    "Device/OperationMode": "start-up and shut-down of the device; the connection shows it",
    "Device/Status": "start-up of the device; the connection shows it",
    "Device/Light": "the camera's own lamp",
    "VideoSource/DayNightVision": "day and night switching",
    "VideoSource/LiveStreamAccessed": "somebody watches",
    "CameraApplicationPlatform/ALPV.": "the same plate comes as ALPV.AllPlates",
    "AccessPoint": "states of access points",
    "Credential": "changes of the device's own list of credentials",
    "Schedule": "changes of the device's own schedules",
}
