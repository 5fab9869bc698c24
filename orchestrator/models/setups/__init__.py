"""How a mixture is made of its parts, a setup a file."""
