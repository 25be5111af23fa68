"""Run, watch, break and measure peer-to-peer overlays."""

__version__ = "0.1.0"
