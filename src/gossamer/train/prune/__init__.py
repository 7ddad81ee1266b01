"""What is removed from models: scores, masks, and surgery on the layers themselves."""
