"""Shortcuts to a point's value: the same numbers for less work, each proven on the module at hand before it is used.

`choice` decides; every shortcut is a file of its own; `accelerated` puts the chosen ones in place, point by point.
"""
