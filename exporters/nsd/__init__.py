"""Readers of NSD's files on disk.

NSD counts images, trials, vertices and voxels from 1. Each reader converts what it reads: all that it returns
counts from 0, but for numbers of subjects, sessions and runs, which file names have, and for columns of
behaviour, whose docstrings say so.
"""
