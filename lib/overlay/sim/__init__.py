"""A deterministic world: virtual time, a network that can fail, nodes that can crash. Same seed, same trace."""

from overlay.sim.disk import Disk
from overlay.sim.faults import Faults
from overlay.sim.network import Network
from overlay.sim.simulation import Simulation

__all__ = ["Disk", "Faults", "Network", "Simulation"]
