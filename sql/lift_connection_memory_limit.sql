-- MySQL from 8.0.28: groups are kept in memory. Not every account may lift it.
SET SESSION connection_memory_limit = 18446744073709551615
