//! A static HTTP/1.1 server: one thread, one `Vec` of nonblocking sockets, one loop.

pub mod check;
pub mod cli;
pub mod compare;
pub mod http;
pub mod service;
pub mod site;
pub mod stats;
