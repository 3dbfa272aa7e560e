"""The shell: flags, wiring and life cycle of a running picker. Everything that knows of everything else is here."""
