"""Flat maps of cortex: where vertices lie on one, and pictures of what they hold."""
