"""The terminal console of secateur: see the flood, filter it, cancel exactly those runs.

from secateur_tui.running import run_console
"""
