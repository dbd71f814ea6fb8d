//! The map of the integration tests: one binary, one line per module.

mod common; // a service made up, a connection driven without a socket, the loop stepped by hand

mod architecture; // who may import whom; http/ knows no I/O
mod chapter; // the teaching pages: written from tests/chapter/pages, listings from src/
mod check; // the black-box checker: each rule against a server that breaks it; our own server under it
mod cli; // the real binary: flags, signals, exit codes, report, log; curl and ab as clients
mod compare; // a tiny matrix measured, counted by both sides, told in two languages
mod course; // the course's servers with their bugs: exactly these rules go red
#[cfg(target_os = "linux")]
mod flood; // the real binary under crowds, storms, no descriptors, no disk, signals
mod fuzz; // the laws that the fuzzer looks for exceptions to, held by its corpus bent in many ways
mod lifecycle; // the loop stepped in the test's thread, its clock moved: keep-alive, deadlines, half-close, the end
mod live; // below /_loop/: what a page sees of the loop, what it may change, and who may not
mod models; // every I/O model through one list of scenarios, and what each does differently
mod operation; // what an operator sets: deadlines, places, listening, TLS, logs, flags, packaging
mod protocol; // tables of raw requests, fed whole, octet by octet, glued together; any splitting, same answer
mod sim; // whole servers over a simulated network: one seed, one world; laws that hold after every sweep
mod site; // the content: which file, which fields, how fresh
#[cfg(target_os = "linux")]
mod soak; // a mixed load with faults, for as long as WOULDBLOCK_SOAK says
mod turns; // whose turn it is, and how much of one: sweeps, groups, slices, the door
