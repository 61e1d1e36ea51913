"""Command groups: the only room that wires the others together and the only one that exits."""
