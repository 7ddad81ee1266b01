"""From the file of a sweep to settings, from settings to files, and what these score and take."""
