"""Relocation: moves what a region holds to another jurisdiction, and proves it."""
