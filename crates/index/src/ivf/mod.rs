//! Inverted files with flat (uncompressed) lists: k-means and the page layouts of the `ivfflat` access method.
