"""What is claimed, and of which regime; the registry, and the claims of a user."""
