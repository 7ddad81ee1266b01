"""From torch modules to checked graphs."""
