"""Opening a serial line, or a USB port that looks like one; what goes wrong is said as a device's error."""

from __future__ import annotations

import errno
import os
from typing import Any

import serial  # type: ignore[import-untyped]

from gated.ports import ConfigError, DeviceError, DeviceRefused, DeviceUnavailable

_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


def open_line(port: str, baud: int, parity: str = "none") -> Any:
    """A `serial.Serial` that never blocks, for this process alone; what waited in it is thrown away. Raises
    DeviceUnavailable (not plugged in, used by another program), DeviceRefused (no permission) and
    ConfigError (no serial line, or not with these settings)."""
    try:
        return serial.Serial(port, baud, parity=_PARITY[parity], timeout=0, write_timeout=0, exclusive=True)
    except (serial.SerialException, OSError, ValueError, OverflowError) as error:
        raise _told(error, port) from None


def _told(error: Exception, port: str) -> DeviceError:
    """What an error of opening means for whoever has to mend it."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return DeviceRefused(f"no permission for {port}: add gated's user to the group dialout")
    if number in (errno.EAGAIN, errno.EBUSY):
        return DeviceUnavailable(f"{port} is used by another program")
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return DeviceUnavailable(f"there is no {port}: it is not plugged in")
    if number in (None, errno.ENOTTY, errno.EISDIR, errno.EINVAL):
        return ConfigError(f"{port} is no serial line that can be set up like this")
    return DeviceUnavailable(f"{port} cannot be opened: {os.strerror(number)}")
