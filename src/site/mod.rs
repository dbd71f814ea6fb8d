//! THE CONTENT: the only files that touch the disk.
