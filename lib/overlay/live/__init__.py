"""Real sockets: one node on three threads (`threads`) or any number of nodes on one asyncio loop (`aio`).

threads, aio     when to wake whom; everything else is shared
driver, timers   the monitor around a node, events, disk; what goes off when
context          what a protocol sees
traffic          which way a message goes out, and what comes in
gate, replay     bytes sealed and judged
wire, connection, frames    TCP: one outgoing connection an address, bounds on those that come in
watching         Hello; who is watched
pull, serving    bodies that come, bodies that go
workers, waker, addresses   pools of the process, wake-ups, numeric addresses
"""
