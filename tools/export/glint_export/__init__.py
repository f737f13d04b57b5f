"""Turns a folder in diffusers' pipeline format into a glint model bundle; docs/exporting.md says what is in one."""
