"""Opening by reply, and being there: the parts that all pushing devices share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from adapters import vzenith, webhook
from adapters._push import Presence, PushDevice, ReplyOpener
from gated.domain import DeviceEvent, OpeningOutcome
from gated.ports import Barrier, DeviceRefused, DeviceUnavailable, Handled, Opened, Pulse, Withdraws
from tests.adapters.contract import context
from tests.adapters.rig import push
from tests.adapters.test_vzenith_codec import alarm


def pulse(answers: str | None = None, number: int = 1) -> Pulse:
    return Pulse(id=f"01OPENING{number}", milliseconds=700, output="0", answers=answers)


async def opening(opener: ReplyOpener, order: Pulse) -> asyncio.Future[Opened]:
    task = asyncio.ensure_future(opener.open(order))
    await asyncio.sleep(0)
    return task


async def test_attaches_to_the_push_that_it_answers() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange("a", opens=True) as first, opener.exchange("b", opens=True) as second:
        task = await opening(opener, pulse("b"))
        assert opener.take(first) is None
        carried = opener.take(second)
        assert carried is not None
        carried[1](True)
    assert (await task).outcome is OpeningOutcome.ACCEPTED


async def test_attaches_to_any_push_that_can_carry_it() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange("a", opens=False) as backlog, opener.exchange(None, opens=True) as poll:
        task = await opening(opener, pulse("gone"))
        assert opener.take(backlog) is None
        carried = opener.take(poll)
        assert carried is not None
        carried[1](True)
    assert (await task).outcome is OpeningOutcome.ACCEPTED


async def test_waits_for_the_next_push() -> None:
    opener = ReplyOpener(1.0)
    task = await opening(opener, pulse())
    with opener.exchange(None, opens=True) as exchange:
        carried = opener.take(exchange)
    assert carried is not None
    carried[1](True)
    assert (await task).outcome is OpeningOutcome.ACCEPTED


async def test_nobody_asked_is_unreachable_and_never_sent_late() -> None:
    opener = ReplyOpener(0.05)
    opened = await opener.open(pulse())
    assert opened.outcome is OpeningOutcome.UNREACHABLE
    with opener.exchange(None, opens=True) as exchange:
        assert opener.take(exchange) is None


async def test_attached_but_not_answered_in_time_is_withdrawn() -> None:
    opener = ReplyOpener(0.05)
    with opener.exchange("a", opens=True) as exchange:
        assert (await opener.open(pulse("a"))).outcome is OpeningOutcome.UNREACHABLE
        assert opener.take(exchange) is None


@pytest.mark.parametrize(
    ("written", "outcome"), [(True, "accepted"), (False, "uncertain"), (None, "uncertain")]
)
async def test_what_the_server_says_of_the_reply(written: bool | None, outcome: str) -> None:
    opener = ReplyOpener(0.05)
    with opener.exchange("a", opens=True) as exchange:
        task = await opening(opener, pulse("a"))
        carried = opener.take(exchange)
    assert carried is not None
    if written is not None:
        carried[1](written)
        carried[1](not written)  # only the first word counts
    assert (await task).outcome == outcome


async def test_cancelled_before_the_reply_is_withdrawn() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange("a", opens=True) as exchange:
        task = await opening(opener, pulse("a"))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert opener.take(exchange) is None
    with opener.exchange("b", opens=True) as exchange:
        assert opener.take(exchange) is None


async def test_a_push_that_could_not_be_recorded_gives_its_pulse_to_the_next() -> None:
    opener = ReplyOpener(1.0)
    with contextlib.suppress(RuntimeError), opener.exchange("a", opens=True):
        task = await opening(opener, pulse("a"))
        raise RuntimeError("not recorded")
    with opener.exchange("a", opens=True) as resend:
        carried = opener.take(resend)
    assert carried is not None
    carried[1](True)
    assert (await task).outcome is OpeningOutcome.ACCEPTED


async def test_each_reply_carries_one_pulse() -> None:
    opener = ReplyOpener(1.0)
    tasks = [await opening(opener, pulse(number=number)) for number in (1, 2)]
    ids = []
    for _ in range(3):
        with opener.exchange(None, opens=True) as exchange:
            if (carried := opener.take(exchange)) is not None:
                ids.append(carried[0].id)
                carried[1](True)
    assert ids == ["01OPENING1", "01OPENING2"]
    assert {(await task).outcome for task in tasks} == {OpeningOutcome.ACCEPTED}


async def test_waits_no_longer_than_the_openings_end() -> None:
    opener = ReplyOpener(5.0)
    suppressed: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
    suppressed.set_result(Opened(OpeningOutcome.SUPPRESSED))
    with opener.exchange("a", opens=True) as exchange:
        async with asyncio.timeout(0.5):
            await exchange.attached(opener.wait_s, suppressed)
        assert opener.take(exchange) is None


async def test_an_opening_that_never_ends_does_not_hold_the_camera() -> None:
    opener = ReplyOpener(0.05)
    pending: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
    with opener.exchange("a", opens=True) as exchange:
        await exchange.attached(opener.wait_s, pending)
    assert not pending.cancelled()


async def test_a_held_poll_is_answered_as_soon_as_there_is_a_pulse() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange(None, opens=True) as poll:
        held = asyncio.create_task(opener.hold(poll, 5.0))
        await asyncio.sleep(0)
        task = await opening(opener, pulse())
        async with asyncio.timeout(0.5):
            await held
        carried = opener.take(poll)
    assert carried is not None
    carried[1](True)
    await task


async def test_a_waiting_order_can_be_withdrawn() -> None:
    opener = ReplyOpener(1.0)
    task = await opening(opener, pulse())
    assert not opener.withdraw("01OPENING2"), "another's"
    assert opener.withdraw("01OPENING1")
    assert not opener.withdraw("01OPENING1"), "gone already"
    with opener.exchange(None, opens=True) as exchange:
        assert opener.take(exchange) is None
    assert await task == Opened(OpeningOutcome.SUPPRESSED, "withdrawn before it was sent")


async def test_an_attached_order_can_be_withdrawn_until_a_reply_carries_it() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange("a", opens=True) as exchange:
        task = await opening(opener, pulse("a"))
        assert opener.withdraw("01OPENING1")
        assert opener.take(exchange) is None
    assert (await task).outcome is OpeningOutcome.SUPPRESSED
    with opener.exchange("b", opens=True) as exchange:
        task = await opening(opener, pulse("b"))
        carried = opener.take(exchange)
        assert not opener.withdraw("01OPENING1")
    assert carried is not None
    assert not opener.withdraw("01OPENING1")
    carried[1](True)
    assert (await task).outcome is OpeningOutcome.ACCEPTED
    assert not opener.withdraw("01OPENING1")


async def test_a_cancelled_order_is_not_carried_even_at_once() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange("a", opens=True) as exchange:
        task = await opening(opener, pulse("a"))
        task.cancel()
        assert opener.take(exchange) is None
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_cancelled_order_does_not_stand_before_the_next() -> None:
    opener = ReplyOpener(1.0)
    first, second = opener.open(pulse(number=1)), opener.open(pulse(number=2))
    first.cancel()
    with opener.exchange(None, opens=True) as exchange:
        carried = opener.take(exchange)
    assert carried is not None
    assert carried[0].id == "01OPENING2"
    carried[1](True)
    assert (await second).outcome is OpeningOutcome.ACCEPTED


async def test_an_opening_goes_into_the_reply_to_the_latest_request_of_its_event() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange("a", opens=True) as given_up, opener.exchange("a", opens=True) as resend:
        task = await opening(opener, pulse("a"))
        assert opener.take(given_up) is None
        carried = opener.take(resend)
    assert carried is not None
    carried[1](True)
    assert (await task).outcome is OpeningOutcome.ACCEPTED


async def test_a_resend_takes_over_what_the_first_reply_was_to_carry() -> None:
    opener = ReplyOpener(1.0)
    with opener.exchange("a", opens=True) as given_up:
        task = await opening(opener, pulse("a"))
        with opener.exchange("a", opens=True) as resend:
            assert opener.take(given_up) is None
            carried = opener.take(resend)
    assert carried is not None
    carried[1](True)
    assert (await task).outcome is OpeningOutcome.ACCEPTED


async def test_a_request_that_was_given_up_carries_nothing_else_either() -> None:
    opener = ReplyOpener(0.05)
    with opener.exchange("a", opens=True) as given_up:
        with opener.exchange("a", opens=True):
            pass
        task = await opening(opener, pulse())
        assert opener.take(given_up) is None
    assert (await task).outcome is OpeningOutcome.UNREACHABLE


@pytest.mark.parametrize("caused_first", [True, False])
async def test_a_resend_waits_for_the_opening_that_its_event_caused(caused_first: bool) -> None:
    opener = ReplyOpener(1.0)
    over: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
    with opener.exchange("a", opens=True) as given_up:
        first = asyncio.create_task(given_up.attached(5.0, over))
        if caused_first:
            await asyncio.sleep(0.01)
        with opener.exchange("a", opens=True) as resend:
            async with asyncio.timeout(0.5):
                await first  # nobody reads that reply: it is not held
            assert resend.opening is over
            held = asyncio.create_task(resend.attached(5.0))
            await asyncio.sleep(0.01)
            assert not held.done()
            task = await opening(opener, pulse("a"))
            async with asyncio.timeout(0.5):
                await held
            carried = opener.take(resend)
    assert carried is not None
    carried[1](True)
    await task


# --- the devices ------------------------------------------------------------------------------------------


def vzenith_camera() -> tuple[vzenith.VzenithCamera, bytes, bytes]:
    """A device, the body of a read, and what is in a reply that opens."""
    values = {"id": "d-1", "type": "vzenith", "token": {"file": "unused"}, "reply_wait_ms": 1000}
    return vzenith.create(vzenith.Config.model_validate(values), context("d-1")), alarm(), b'"ivs_ioctrl"'


def webhook_device() -> tuple[webhook.WebhookDevice, bytes, bytes]:
    """The same of a webhook."""
    values = {"id": "d-1", "type": "webhook", "token": {"file": "unused"}, "reply_wait_ms": 1000}
    read = b'{"type":"read","kind":"plate","value":"x1","id":"7"}'
    return webhook.create(webhook.Config.model_validate(values), context("d-1")), read, b'"open":'


devices = pytest.mark.parametrize("make", [vzenith_camera, webhook_device])
Made = Callable[[], tuple[Any, bytes, bytes]]


@devices
async def test_a_resend_is_answered_with_the_opening_that_its_event_caused(make: Made) -> None:
    device, body, opens = make()
    order = asyncio.Lock()
    events: list[DeviceEvent] = []

    async def open_later(event: DeviceEvent) -> Opened:
        await asyncio.sleep(0.05)  # the cool-down
        opened: Opened = await device.open(Pulse("01O", 700, "0", answers=event.key))
        return opened

    async def lane(event: DeviceEvent) -> Handled:
        async with order:
            await asyncio.sleep(0.02)  # the commit
            events.append(event)
            if len(events) > 1:
                return Handled("01P")  # a duplicate
            opening = asyncio.create_task(open_later(event))
            return Handled("01P", True, opening, "d-1")

    given_up = asyncio.create_task(device.receive(push(body), lane))
    await asyncio.sleep(0.01)
    resend = asyncio.create_task(device.receive(push(body), lane))
    first, second = await given_up, await resend
    assert (opens in first.body, opens in second.body) == (False, True)
    assert first.sent is None
    second.sent(True)
    assert len(events) == 2


@devices
async def test_what_waits_for_a_push_can_be_withdrawn(make: Made) -> None:
    device, body, opens = make()
    assert all(isinstance(device, power) for power in (Barrier, Withdraws))
    task = asyncio.ensure_future(device.open(Pulse("01O", 700, "0")))
    await asyncio.sleep(0)
    assert not device.withdraw("01X")
    assert device.withdraw("01O")
    assert (await task).outcome is OpeningOutcome.SUPPRESSED

    async def lane(_: DeviceEvent) -> Handled:
        return Handled("01P")

    assert opens not in (await device.receive(push(body), lane)).body


# --- being there ------------------------------------------------------------------------------------------


async def test_enters_at_once_if_heard_from() -> None:
    device = PushDevice("cam-1", 60.0)
    device.presence.heard()
    async with asyncio.timeout(0.5), device:
        pass


async def test_enters_with_its_first_push() -> None:
    device = PushDevice("cam-1", 60.0)
    asyncio.get_running_loop().call_later(0.05, device.presence.heard)
    async with asyncio.timeout(1.0), device:
        pass


async def test_silence_ends_it_and_a_push_brings_it_back() -> None:
    device = PushDevice("cam-1", 0.1)
    device.presence.heard()
    async with device:
        with pytest.raises(DeviceUnavailable, match="pushed nothing"):
            await anext(aiter(device.events()))
    with pytest.raises(DeviceUnavailable):
        await device.__aenter__()
    woken = asyncio.create_task(device.heard())
    await asyncio.sleep(0)
    device.presence.heard()
    await woken
    async with device:
        pass


async def test_a_stranger_is_refused_only_while_the_right_one_is_silent() -> None:
    presence = Presence(0.1)
    presence.heard()
    presence.stranger("another serial number")
    await presence.arrive(0.01)
    await asyncio.sleep(0.05)
    presence.stranger("another serial number")
    assert isinstance(await presence.loss(), DeviceRefused)
    with pytest.raises(DeviceRefused, match="another serial number"):
        await presence.arrive(0.01)
