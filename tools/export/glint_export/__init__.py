"""Turns a folder in diffusers' pipeline format into a glint model bundle, described in docs/exporting.md."""
