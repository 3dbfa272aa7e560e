"""What installs the picker, and what generates those parts of it that come from the code."""
