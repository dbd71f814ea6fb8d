//! Operation: what an operator sets, and what then holds. Each table names a flag and what it changes.

mod deadlines; // stalls judged by what the peer took; a full house makes room
