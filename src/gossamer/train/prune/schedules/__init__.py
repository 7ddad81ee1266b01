"""One file is one way from the first sparsity to the last."""
