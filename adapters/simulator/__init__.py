"""Simulated devices that speak the real wires on loopback, with faults on demand.

They are the doubles of the contract suite and the devices of `gated demo`; nothing of a real site may use
them. Each double stands alone: it does not import the adapter that it is there to test.
"""

from adapters.simulator.boom import Boom, Opening
from adapters.simulator.faults import Faults

__all__ = ["Boom", "Faults", "Opening"]
