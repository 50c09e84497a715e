"""Subjects for pycortex, made and checked without FreeSurfer, FSL, Inkscape or pycortex itself."""
