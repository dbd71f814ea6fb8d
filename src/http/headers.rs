//! Header fields of a request: storage, look-up, list members (RFC 9110 §5).

use std::mem::MaybeUninit;

/// The most header fields a request can have, whatever [`super::Limits::header_count`] says: they are parsed
/// into an array on the stack, so that a request allocates nothing.
pub const HEADERS_MAX: usize = 128;

/// Uninitialised room for the header fields of one request. Costs nothing to make.
pub struct HeaderStorage<'b>(pub(super) [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX]);

impl HeaderStorage<'_> {
    /// Room for [`HEADERS_MAX`] fields.
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; HEADERS_MAX])
    }
}

impl Default for HeaderStorage<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// The header fields of a request, in the order in which they came. Names compare without case.
#[derive(Clone, Copy)]
pub struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    /// No fields at all.
    pub const EMPTY: Headers<'static> = Headers(&[]);

    /// Fields that are parsed already, also by hand in tests.
    pub const fn new(fields: &'a [httparse::Header<'a>]) -> Self {
        Self(fields)
    }

    /// The first field of that name, without the white space around its value.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every field of that name, in order.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let fields = self.0;
        fields
            .iter()
            .filter(move |field| field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// All fields as (name, value).
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let fields = self.0;
        fields.iter().map(|field| (field.name, field.value))
    }

    /// How many fields.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.escape_ascii().to_string())))
            .finish()
    }
}

/// The members of a comma-separated list field (RFC 9110 §5.6.1): optional white space trimmed, empty members
/// left out, commas inside quoted strings kept.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(value, true)
}

/// The same of a list of entity tags (RFC 9110 §8.8.3): in one of those a backslash is like any other character.
pub fn tag_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(value, false)
}

fn members(value: &[u8], escapes: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let (member, after) = split_at_comma(text, escapes);
            rest = after;
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

fn split_at_comma(text: &[u8], escapes: bool) -> (&[u8], Option<&[u8]>) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted && escapes => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                let (member, after) = text.split_at(at);
                return (member, after.get(1..));
            }
            _ => {}
        }
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_members_are_trimmed_and_quotes_keep_their_commas() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" , ,", &[]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            (" a ,\tb , ", &["a", "b"]),
            (r#""x,y", W/"z""#, &[r#""x,y""#, r#"W/"z""#]),
            (r#""a\",b",c"#, &[r#""a\",b""#, "c"]),
        ];
        for (value, expected) in cases {
            let members: Vec<_> =
                list_members(value.as_bytes()).map(|member| std::str::from_utf8(member).unwrap()).collect();
            assert_eq!(&members, expected, "{value:?}");
        }
        let tags: Vec<_> = tag_members(br#""a\", W/"b,c", *"#).collect();
        assert_eq!(tags, [&br#""a\""#[..], br#"W/"b,c""#, b"*"]);
    }
}
