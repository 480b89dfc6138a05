"""Sends a command that opens: once, on a connection of its own, with its outcome by what is known of it."""

from __future__ import annotations

from adapters.onvif.camera import Camera, Faulted, NotOnvif, Silent, Target, Unreachable
from gated.domain import OpeningOutcome
from gated.ports import ConfigError, DeviceRefused, DeviceUnavailable, Opened


async def send_once(camera: Camera, target: Target, body: str, action: str) -> tuple[Opened, bool]:
    """The outcome, and whether the service did not even know the operation, so that nothing was done."""
    try:
        await camera.call(target, body, action, fresh=True)
    except Unreachable as error:
        return Opened(OpeningOutcome.UNREACHABLE, str(error)), False
    except Silent as error:
        return Opened(OpeningOutcome.UNCERTAIN, f"sent once: {error}"), False
    except Faulted as error:
        return Opened(OpeningOutcome.REJECTED, str(error.fault)), error.fault.unsupported
    except NotOnvif as error:
        return Opened(OpeningOutcome.REJECTED, str(error)), True
    except ConfigError as error:  # a certificate that is not trusted any more: nothing was sent
        return Opened(OpeningOutcome.UNREACHABLE, str(error)), False
    except DeviceRefused as error:
        return Opened(OpeningOutcome.REJECTED, str(error)), False
    except DeviceUnavailable as error:
        return Opened(OpeningOutcome.UNCERTAIN, f"sent once: {error}"), False
    return Opened(OpeningOutcome.ACCEPTED), False
