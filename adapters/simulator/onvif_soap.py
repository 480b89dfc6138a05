"""The SOAP that a simulated ONVIF camera says: templates and message texts, as real cameras write them.

Pure text; `adapters.simulator.onvif` carries it. It stands alone: nothing is shared with the adapter under
test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\r\n'
    '<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" '
    'xmlns:tev="http://www.onvif.org/ver10/events/wsdl" xmlns:tmd="http://www.onvif.org/ver10/deviceIO/wsdl" '
    'xmlns:trt="http://www.onvif.org/ver10/media/wsdl" '
    'xmlns:tdc="http://www.onvif.org/ver10/doorcontrol/wsdl" '
    'xmlns:tac="http://www.onvif.org/ver10/accesscontrol/wsdl" '
    'xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2" xmlns:wsa="http://www.w3.org/2005/08/addressing" '
    'xmlns:ter="http://www.onvif.org/ver10/error" xmlns:tns1="http://www.onvif.org/ver10/topics" '
    'xmlns:tnshik="http://www.hikvision.com/2011/event/topics" xmlns:tnsaxis="http://www.axis.com/2009/event/topics">'
)
WEB_PAGE = (
    b"<html><head><title>404 File Not Found</title></head>\n"
    b"<body>The requested URL was not found on this server</body></html>\n"
)
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE bomb [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">'.encode() for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + b']><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope"><env:Body><x>&i;</x></env:Body></env:Envelope>'
)
JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d"
    "1a1c1c20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080001000101011100ffc4001f000001050101"
    "0101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d010203000411051221314106"
    "13516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455"
    "565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9ba"
    "c2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00fbd2bfffd9"
)


def envelope(body: str, action: str = "") -> bytes:
    """A reply."""
    header = f"<env:Header><wsa:Action>{action}</wsa:Action></env:Header>" if action else ""
    return f"{HEAD}{header}<env:Body>{body}</env:Body></env:Envelope>".encode()


def fault(subcode: str, reason: str = "", code: str = "Sender") -> bytes:
    """A SOAP 1.2 fault, with the prefix `ter:`."""
    return envelope(
        f"<env:Fault><env:Code><env:Value>env:{code}</env:Value><env:Subcode>"
        f"<env:Value>ter:{subcode}</env:Value></env:Subcode></env:Code>"
        f'<env:Reason><env:Text xml:lang="en">{escape(reason)}</env:Text></env:Reason>'
        "</env:Fault>"
    )


def stamp(moment: datetime) -> str:
    """Milliseconds and a Z, as cameras write a UtcTime."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def system_time(now: datetime) -> str:
    return (
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>"
        "<tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>CST-8</tt:TZ></tt:TimeZone>"
        f"<tt:UTCDateTime><tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
        f"<tt:Second>{now.second}</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}</tt:Year>"
        f"<tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date></tt:UTCDateTime>"
        "</tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
    )


def device_information(serial: str) -> str:
    return (
        "<tds:GetDeviceInformationResponse><tds:Manufacturer>gated</tds:Manufacturer>"
        "<tds:Model>Simulated ONVIF camera</tds:Model><tds:FirmwareVersion>1.0</tds:FirmwareVersion>"
        f"<tds:SerialNumber>{escape(serial)}</tds:SerialNumber><tds:HardwareId>0</tds:HardwareId>"
        "</tds:GetDeviceInformationResponse>"
    )


_SERVICES = {
    "http://www.onvif.org/ver10/device/wsdl": "/onvif/device_service",
    "http://www.onvif.org/ver10/events/wsdl": "/onvif/event_service",
    "http://www.onvif.org/ver10/media/wsdl": "/onvif/media_service",
    "http://www.onvif.org/ver10/deviceIO/wsdl": "/onvif/deviceio_service",
    "http://www.onvif.org/ver10/doorcontrol/wsdl": "/onvif/door_service",
    "http://www.onvif.org/ver10/accesscontrol/wsdl": "/onvif/access_service",
}
PROFILES = (
    '<trt:GetProfilesResponse><trt:Profiles token="Profile_1" fixed="true">'
    "<tt:Name>main</tt:Name></trt:Profiles></trt:GetProfilesResponse>"
)


def services(base: str, doors: bool) -> str:
    """GetServicesResponse. `doors`: with the two services of Profile C."""
    each = "".join(
        f"<tds:Service><tds:Namespace>{namespace}</tds:Namespace><tds:XAddr>{base}{path}</tds:XAddr>"
        "<tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
        for namespace, path in _SERVICES.items()
        if doors or not namespace.endswith(("/doorcontrol/wsdl", "/accesscontrol/wsdl"))
    )
    return f"<tds:GetServicesResponse>{each}</tds:GetServicesResponse>"


def capabilities(base: str) -> str:
    """GetCapabilitiesResponse, with DeviceIO where it hides."""
    return (
        "<tds:GetCapabilitiesResponse><tds:Capabilities>"
        f"<tt:Events><tt:XAddr>{base}/onvif/event_service</tt:XAddr><tt:WSSubscriptionPolicySupport>true"
        "</tt:WSSubscriptionPolicySupport><tt:WSPullPointSupport>true</tt:WSPullPointSupport>"
        "<tt:WSPausableSubscriptionManagerInterfaceSupport>false"
        "</tt:WSPausableSubscriptionManagerInterfaceSupport></tt:Events>"
        f"<tt:Media><tt:XAddr>{base}/onvif/media_service</tt:XAddr><tt:StreamingCapabilities/></tt:Media>"
        f"<tt:Extension><tt:DeviceIO><tt:XAddr>{base}/onvif/deviceio_service</tt:XAddr>"
        "<tt:VideoSources>1</tt:VideoSources><tt:VideoOutputs>0</tt:VideoOutputs><tt:AudioSources>0"
        "</tt:AudioSources><tt:AudioOutputs>0</tt:AudioOutputs><tt:RelayOutputs>1</tt:RelayOutputs>"
        "</tt:DeviceIO></tt:Extension></tds:Capabilities></tds:GetCapabilitiesResponse>"
    )


def relay_output(token: str, mode: str, delay: str, idle: str) -> str:
    """One output of a GetRelayOutputsResponse."""
    return (
        f'<tds:RelayOutputs token="{token}"><tt:Properties><tt:Mode>{mode}</tt:Mode>'
        f"<tt:DelayTime>{delay}</tt:DelayTime><tt:IdleState>{idle}</tt:IdleState></tt:Properties>"
        "</tds:RelayOutputs>"
    )


def door_state(state: str) -> str:
    return (
        f"<tdc:GetDoorStateResponse><tdc:DoorState><tdc:DoorPhysicalState>{state}</tdc:DoorPhysicalState>"
        "<tdc:DoorMode>Locked</tdc:DoorMode></tdc:DoorState></tdc:GetDoorStateResponse>"
    )


def door_info(token: str, *, momentary: bool, override: str) -> str:
    """One door of a GetDoorInfoListResponse. `override`: "true" where it takes an AccessTime."""
    return (
        f"<tdc:DoorInfo token={quoteattr(token)}><tdc:Name>{escape(token)}</tdc:Name>"
        f'<tdc:Capabilities Access="{str(momentary).lower()}" AccessTimingOverride="{override}" '
        'DoorMonitor="true" Alarm="true"/></tdc:DoorInfo>'
    )


def access_point_info(token: str, door: str) -> str:
    """One access point of a GetAccessPointInfoListResponse."""
    return (
        f"<tac:AccessPointInfo token={quoteattr(token)}><tac:Name>{escape(token)}</tac:Name>"
        f"<tac:EntityType>tdc:Door</tac:EntityType><tac:Entity>{escape(door)}</tac:Entity>"
        '<tac:Capabilities DisableAccessPoint="false" AnonymousAccess="true" ExternalAuthorization="true"/>'
        "</tac:AccessPointInfo>"
    )


def snapshot_uri(base: str) -> str:
    return (
        f"<trt:GetSnapshotUriResponse><trt:MediaUri><tt:Uri>{base}/snapshot.jpg?channel=1</tt:Uri>"
        "<tt:InvalidAfterConnect>false</tt:InvalidAfterConnect><tt:InvalidAfterReboot>false"
        "</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri></trt:GetSnapshotUriResponse>"
    )


def seconds(text: str) -> float:
    """An xs:duration of minutes and seconds."""
    found = re.fullmatch(r"PT(?:(\d+)M)?(?:([\d.]+)S)?", text)
    return 0.0 if found is None else int(found[1] or 0) * 60 + float(found[2] or 0)


def subscription(address: str, reference: str, now: str, ends: str) -> str:
    return (
        f"<tev:CreatePullPointSubscriptionResponse><tev:SubscriptionReference><wsa:Address>{escape(address)}"
        f"</wsa:Address>{reference}</tev:SubscriptionReference><wsnt:CurrentTime>{now}</wsnt:CurrentTime>"
        f"<wsnt:TerminationTime>{ends}</wsnt:TerminationTime></tev:CreatePullPointSubscriptionResponse>"
    )


def messages(now: str, ends: str, each: list[str]) -> str:
    return (
        f"<tev:PullMessagesResponse><tev:CurrentTime>{now}</tev:CurrentTime><tev:TerminationTime>{ends}"
        f"</tev:TerminationTime>{''.join(each)}</tev:PullMessagesResponse>"
    )


def notification(
    topic: str,
    utc: str,
    *,
    operation: str | None = None,
    source: Mapping[str, str] | None = None,
    key: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    elements: str = "",
) -> str:
    """One NotificationMessage. `elements`: ElementItems as XML, put into Data."""

    def items(name: str, values: Mapping[str, str] | None, more: str = "") -> str:
        if not values and not more:
            return ""
        inner = "".join(
            f"<tt:SimpleItem Name={quoteattr(item)} Value={quoteattr(value)}/>"
            for item, value in (values or {}).items()
        )
        return f"<tt:{name}>{inner}{more}</tt:{name}>"

    property_operation = f' PropertyOperation="{operation}"' if operation else ""
    return (
        "<wsnt:NotificationMessage><wsnt:Topic "
        'Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">'
        f'{escape(topic)}</wsnt:Topic><wsnt:Message><tt:Message UtcTime="{utc}"{property_operation}>'
        f"{items('Source', source)}{items('Key', key)}{items('Data', data, elements)}"
        "</tt:Message></wsnt:Message></wsnt:NotificationMessage>"
    )


def plate(style: str, text: str, confidence: float, utc: str, channel: str, number: int) -> str:
    """A plate as a make of camera says it: "profile_m", "hikvision" or "axis"."""
    if style == "hikvision":
        return notification(
            "tns1:RuleEngine/VehicleDetector/tnshik:Vehicle",
            utc,
            operation="Changed",
            source={"VideoSourceConfigurationToken": "VideoSourceToken", "Rule": "MyVehicleDetector"},
            data={
                "PlateNumber": text,
                "Likelihood": str(round(confidence * 100)),
                "VehicleLaneNumber": channel or "1",
                "VehicleDirection": "forward",
            },
        )
    if style == "axis":
        return notification(
            "tnsaxis:CameraApplicationPlatform/ALPV.AllPlates",
            utc,
            data={
                "text": text,
                "country": "CHN",
                "carMoveDirection": "in",
                "carState": "new",
                "carID": str(number),
            },
        )
    elements = (
        '<tt:ElementItem Name="LicensePlateInfo"><tt:LicensePlateInfo>'
        f'<tt:PlateNumber Likelihood="{confidence:g}">{escape(text)}</tt:PlateNumber>'
        "<tt:PlateType>Normal</tt:PlateType><tt:CountryCode>CN</tt:CountryCode>"
        '</tt:LicensePlateInfo></tt:ElementItem><tt:ElementItem Name="VehicleInfo">'
        '<tt:VehicleInfo><tt:Type Likelihood="0.9">Car</tt:Type></tt:VehicleInfo></tt:ElementItem>'
    )
    return notification(
        "tns1:RuleEngine/Recognition/LicensePlate",
        utc,
        source={"VideoSource": channel or "VideoSource_1", "Rule": "Plates"},
        data={"Likelihood": f"{confidence:g}"},
        elements=elements,
    )
