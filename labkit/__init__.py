"""labkit: what the notebooks of the lab course import.

Import from its modules (``from labkit.images import open_image``); this one loads nothing.
"""

__version__ = "0.1.0"
