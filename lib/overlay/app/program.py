"""overlay: the console script. `overlay ring --at host:port` looks at a running ring."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence

from overlay.app import jsonlines, reporter
from overlay.app.arguments import overlay_arguments
from overlay.app.terminal import Output
from overlay.errors import OverlayError

WATCH_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole program; the exit status."""
    options = overlay_arguments(arguments)
    from overlay.peer.visitor import Visitor

    output = Output(no_color=options.no_color)
    visitor = Visitor()
    broken: list[bool] = []
    output.on_broken = lambda: broken.append(True)
    status = 0
    try:
        while True:
            try:
                ring = visitor.ring(*options.at)
                if options.json:
                    output.write(jsonlines.encode(reporter.ring_object(ring)))
                else:
                    output.write("\n".join(reporter.block(reporter.rows_of_ring(ring))))
                status = 0
            except OverlayError as error:
                output.error(str(error))
                status = 1
            if not options.watch or broken:
                return status
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
