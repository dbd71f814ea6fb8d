//! Who may come in: names with passwords or their hashes, as the operator wrote them down.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;

/// The dearest bcrypt that is accepted: each step doubles the work, and 16 takes seconds for one password.
const BCRYPT_COST_MAX: u32 = 16;

/// Names and what their passwords are compared with.
#[derive(Clone, Default)]
pub struct Accounts {
    pub(super) users: HashMap<String, Secret>,
}

/// A password, or what can tell whether something is it.
#[derive(Clone)]
pub(super) enum Secret {
    Plain(String),
    /// `$2a$…`, `$2b$…`, `$2y$…`
    Bcrypt(String),
    /// `$argon2id$…` and its siblings (RFC 9106), in PHC form.
    Argon2(String),
}

impl fmt::Debug for Accounts {
    /// Only the names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.users.keys()).finish()
    }
}

impl Accounts {
    /// Nobody, yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nobody may come in.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Adds `user:password` or `user:hash`.
    pub fn add(&mut self, line: &str) -> Result<(), AccountError> {
        let (user, secret) = line.split_once(':').ok_or(AccountError::Form)?;
        if user.is_empty() || secret.is_empty() || line.contains(char::is_control) {
            return Err(AccountError::Form);
        }
        if self.users.insert(user.to_owned(), Secret::read(secret)?).is_some() {
            return Err(AccountError::Twice(user.to_owned()));
        }
        Ok(())
    }

    /// Adds every line of a file: `user:password` or `user:hash`, as htpasswd(1) writes it with `-B`. Empty lines
    /// and lines that begin with `#` are left out. A file without any account is an error: it would lock out
    /// everyone, or be taken for "no password needed".
    pub fn add_file(&mut self, path: &Path) -> Result<(), AccountError> {
        let failed = |error| AccountError::File(path.to_owned(), error);
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mode = path.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o004 != 0 {
            log::warn!("everyone on this machine can read {}; chmod o-r it", path.display());
        }
        let mut any = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.add(line)
                .map_err(|error| AccountError::Line(path.to_owned(), number + 1, Box::new(error)))?;
            any = true;
        }
        if any { Ok(()) } else { Err(AccountError::Empty(path.to_owned())) }
    }
}

impl Secret {
    fn read(text: &str) -> Result<Self, AccountError> {
        if text.starts_with("$argon2") {
            let known = PasswordHash::new(text).is_ok_and(|hash| hash.hash.is_some() && hash.salt.is_some());
            return if known {
                Ok(Self::Argon2(text.to_owned()))
            } else {
                Err(AccountError::BadHash("argon2"))
            };
        }
        if ["$2a$", "$2b$", "$2y$", "$2x$"].iter().any(|start| text.starts_with(start)) {
            return match text.parse::<bcrypt::HashParts>() {
                Ok(parts) if text.len() == 60 && parts.get_cost() <= BCRYPT_COST_MAX => {
                    Ok(Self::Bcrypt(text.to_owned()))
                }
                Ok(parts) if text.len() == 60 => Err(AccountError::TooDear(parts.get_cost())),
                _ => Err(AccountError::BadHash("bcrypt")),
            };
        }
        // Hashes of other kinds would be taken for very odd passwords, and nobody could come in.
        let foreign =
            ["$apr1$", "$1$", "$5$", "$6$", "$7$", "$y$", "$gy$", "$scrypt$", "$pbkdf2", "{SHA}", "{SSHA}"];
        match foreign.iter().find(|start| text.starts_with(**start)) {
            Some(kind) => Err(AccountError::ForeignHash(kind)),
            None => Ok(Self::Plain(text.to_owned())),
        }
    }

    /// Whether this is the password. Slow on purpose, but for [`Secret::Plain`]; each kind compares in a time
    /// that does not depend on what is compared.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Plain(own) => same(own.as_bytes(), password),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => argon2::Argon2::default().verify_password(password, hash.as_str()).is_ok(),
        }
    }

    pub(super) const fn is_slow(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// Compares in a time that tells the length of what was sent, and nothing of what is kept.
fn same(own: &[u8], sent: &[u8]) -> bool {
    let mut difference = usize::from(own.len() != sent.len());
    let mut own = own.iter().cycle();
    for octet in sent {
        difference |= usize::from(octet ^ own.next().unwrap_or(&0));
    }
    std::hint::black_box(difference) == 0
}

/// Why an account cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum AccountError {
    /// Not `user:password`.
    Form,
    /// The same name a second time.
    Twice(String),
    /// A hash that is cut short or misspelt.
    BadHash(&'static str),
    /// A kind of hash that is not known here; with how it begins.
    ForeignHash(&'static str),
    /// A bcrypt cost that keeps the helper for too long.
    TooDear(u32),
    /// A file that cannot be read.
    File(PathBuf, io::Error),
    /// A file without accounts.
    Empty(PathBuf),
    /// A line of a file; with its number.
    Line(PathBuf, usize, Box<Self>),
}

impl fmt::Display for AccountError {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("write an account as user:password or user:hash"),
            Self::Twice(user) => write!(f, "there are two accounts named {user:?}"),
            Self::BadHash(kind) => write!(f, "this is no complete {kind} hash"),
            Self::ForeignHash(kind) => {
                write!(
                    f,
                    "hashes that begin with {kind} are not known here; use bcrypt (htpasswd -B) or argon2id"
                )
            }
            Self::TooDear(cost) => {
                write!(f, "bcrypt with a cost of {cost} takes too long; use at most {BCRYPT_COST_MAX}")
            }
            Self::File(path, error) => write!(f, "cannot read the accounts in {}: {error}", path.display()),
            Self::Empty(path) => write!(f, "{} has no account in it", path.display()),
            Self::Line(path, number, error) => write!(f, "{}, line {number}: {error}", path.display()),
        }
    }
}

impl std::error::Error for AccountError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_cannot_work_are_refused_without_showing_the_password() {
        for (line, says) in [
            ("alice", "user:password"),
            (":secret", "user:password"),
            ("alice:", "user:password"),
            ("alice:sec\nret", "user:password"),
            ("alice:$apr1$secret$secret", "$apr1$"),
            ("alice:{SHA}secret", "{SHA}"),
            ("alice:$2y$05$secret", "bcrypt"),
            ("alice:$2y$31$LK7U3RrLLrlQB0sUHXSRt.oLWCmn7TG6iVwrJRfa1QNhYBDmBZJpm", "31"),
            ("alice:$argon2id$secret", "argon2"),
            ("alice:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", "argon2"),
        ] {
            let error = Accounts::new().add(line).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("secret"), "{line}: {error}");
        }
        let mut accounts = Accounts::new();
        accounts.add("alice:a:b c").unwrap();
        assert!(accounts.users["alice"].verify(b"a:b c"));
        assert!(accounts.add("alice:x").is_err());
        assert_eq!(format!("{accounts:?}"), r#"{"alice"}"#);
    }

    #[test]
    fn comparing_says_yes_to_the_same_alone() {
        assert!(same(b"abc", b"abc"));
        for sent in [&b""[..], b"ab", b"abcd", b"abcabc", b"abd"] {
            assert!(!same(b"abc", sent), "{sent:?}");
        }
    }
}
