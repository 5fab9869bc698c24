"""What the prompt router learns and is tested with: see the README beside this file."""
