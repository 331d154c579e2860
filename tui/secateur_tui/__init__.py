"""The terminal console of secateur: see the flood, filter it, cancel exactly those runs.

from secateur_tui.app import run_console
"""
