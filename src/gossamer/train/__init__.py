"""From torch modules to torch modules: what is done while a model trains."""
