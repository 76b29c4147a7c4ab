"""The commands of `cellgate-train`, a file each: options, and what is printed. The work is done elsewhere."""
