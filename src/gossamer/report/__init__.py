"""Tables, plots and files for people."""
