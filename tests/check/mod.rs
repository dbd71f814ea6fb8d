//! The checker, judged: each rule green on a good server and red on one that breaks it; the course's servers; our own.

mod cli; // flags, exit codes, outputs, Ctrl-C
pub(crate) mod mini; // a tiny server that breaks the one rule it is told to
mod mini_site;
mod odd; // servers that are odd and right: no red
mod own; // our server is green
mod table; // each rule against the server that breaks it
