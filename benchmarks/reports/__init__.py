"""What was found, for people and for machines: on the screen, as JSON, HTML and PNG, and as the page in docs/."""
