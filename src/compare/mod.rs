//! `wouldblock compare`: what busy polling costs on this machine.
