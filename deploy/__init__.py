"""How Cellgate is shipped: the image, its test, and what runs around it."""
