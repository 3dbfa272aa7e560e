"""Manifests from files: read with line numbers, followed as they change, checked before they are served.

`ObjectFiles` gives the objects of a file or a folder and what changes in them; `check_manifests` says all that is
wrong with them. A mistake in a file never takes away what it gave before (`lastgood`).
"""

from epp.files.check import check_manifests
from epp.files.lastgood import Delta, Place
from epp.files.objectfiles import ObjectFiles
from epp.files.reading import FileProblem

__all__ = ["Delta", "FileProblem", "ObjectFiles", "Place", "check_manifests"]
