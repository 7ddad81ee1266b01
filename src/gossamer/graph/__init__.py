"""ir.Model in, ir.Model out; nothing here imports torch."""
