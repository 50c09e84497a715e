"""The package format, alone: what lies where, and how it is read, written, sealed and checked."""
