"""The messages that cross our wires, and what compiles them."""
