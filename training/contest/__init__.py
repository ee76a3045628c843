"""The comparison of all arms in the declared world: cells of (world seed, semantic share), fits, figures, the table."""
